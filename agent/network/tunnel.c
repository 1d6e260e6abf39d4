/*
 * VXLAN interfaces through libnl.
 *
 * Ours say so in their alias, with the network they are for. The kernel takes the alias only
 * in a second request: one without any that has our kind of name and our port was left by an
 * agent that was killed between the two. Id, port and the local address cannot be changed, so
 * an interface in which they differ is made anew; frames are lost for a moment then.
 *
 * Ways to fail: an interface of that name which is not ours; an id that something else uses on
 * our port; no permission.
 */
#include "agent/network/tunnel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/vxlan.h>

#include "agent/network/nl.h"
#include "agent/network/sysctl.h"
#include "lib/str.h"

#define GUESTS_PREFIX "lxv"
#define HOSTS_PREFIX  "lxh"
#define ALIAS_PREFIX  "lxmgr "
#define ALIAS_MAX     (sizeof(ALIAS_PREFIX) + LX_NETWORK_NAME_MAX)

/* The links between machines have ids of their own. */
#define HOSTS_ID(vxlan_id) ((vxlan_id) | (LX_VXLAN_ID_MAX + 1))

/* ------------------------------------------------------------------ names */

char *lx_tunnel_guests_name(uint32_t vxlan_id, char out[IFNAMSIZ])
{
	snprintf(out, IFNAMSIZ, GUESTS_PREFIX "%u", vxlan_id);
	return out;
}

char *lx_tunnel_hosts_name(uint32_t vxlan_id, char out[IFNAMSIZ])
{
	snprintf(out, IFNAMSIZ, HOSTS_PREFIX "%u", vxlan_id);
	return out;
}

bool lx_tunnel_is_hosts_name(const char *name)
{
	return lx_starts_with(name, HOSTS_PREFIX) && lx_tunnel_id(name) != 0;
}

uint32_t lx_tunnel_id(const char *name)
{
	uint64_t id;

	if ((!lx_starts_with(name, GUESTS_PREFIX) && !lx_starts_with(name, HOSTS_PREFIX)) ||
	    lx_parse_u64(name + strlen(GUESTS_PREFIX), &id) < 0 || id > LX_VXLAN_ID_MAX)
		return 0;
	return (uint32_t)id;
}

static char *alias_of(const char *network, char out[ALIAS_MAX])
{
	snprintf(out, ALIAS_MAX, ALIAS_PREFIX "%s", network);
	return out;
}

static bool is_ours(struct rtnl_link *link, const char *network)
{
	const char *alias = rtnl_link_get_ifalias(link);
	char text[ALIAS_MAX];
	uint32_t port;

	if (!lx_streq(rtnl_link_get_type(link), "vxlan"))
		return false;
	if (alias)
		return lx_streq(alias, alias_of(network, text));
	return lx_tunnel_id(rtnl_link_get_name(link)) != 0 && rtnl_link_vxlan_get_port(link, &port) == 0 &&
	       port == LX_VXLAN_PORT;
}

/* ------------------------------------------------------------------ one interface */

struct want {
	const char *name;
	const char *network;
	uint32_t id;
	const struct lx_subnet *local;
	const uint8_t *hwaddr; /* NULL: the kernel's choice */
	uint32_t mtu;
	int master; /* 0: none */
	bool v6;
};

/* Whether it can stay: all that cannot be changed is as wanted. */
static bool fits(struct rtnl_link *link, const struct want *w)
{
	struct nl_addr *local = NULL, *hwaddr = rtnl_link_get_addr(link);
	uint32_t id = 0, port = 0;
	struct lx_subnet s;
	bool same =
		rtnl_link_vxlan_get_id(link, &id) == 0 && id == w->id &&
		rtnl_link_vxlan_get_port(link, &port) == 0 && port == LX_VXLAN_PORT &&
		rtnl_link_vxlan_get_local(link, &local) == 0 && lx_nl_subnet(local, &s) &&
		s.family == w->local->family &&
		memcmp(s.addr, w->local->addr, lx_subnet_bytes(s.family)) == 0 &&
		(!w->hwaddr || (hwaddr && nl_addr_get_len(hwaddr) == LX_HWADDR_BYTES &&
				memcmp(nl_addr_get_binary_addr(hwaddr), w->hwaddr, LX_HWADDR_BYTES) == 0));

	nl_addr_put(local);
	return same;
}

static int create(struct nl_sock *sock, const struct want *w, struct lx_err *err)
{
	struct rtnl_link *link = rtnl_link_vxlan_alloc();
	struct nl_addr *local =
		nl_addr_build(w->local->family, w->local->addr, lx_subnet_bytes(w->local->family));
	struct nl_addr *hwaddr = w->hwaddr ? nl_addr_build(AF_LLC, w->hwaddr, LX_HWADDR_BYTES) : NULL;
	int nle = link && local && (hwaddr || !w->hwaddr) ? 0 : -NLE_NOMEM;

	if (nle == 0) {
		rtnl_link_set_name(link, w->name);
		rtnl_link_set_mtu(link, w->mtu);
		if (hwaddr)
			rtnl_link_set_addr(link, hwaddr);
		rtnl_link_vxlan_set_id(link, w->id);
		rtnl_link_vxlan_set_port(link, LX_VXLAN_PORT);
		rtnl_link_vxlan_disable_learning(link);
		nle = rtnl_link_vxlan_set_local(link, local);
	}
	if (nle == 0)
		nle = rtnl_link_add(sock, link, NLM_F_CREATE | NLM_F_EXCL);
	nl_addr_put(hwaddr);
	nl_addr_put(local);
	rtnl_link_put(link);
	if (nle == 0)
		return 0;
	lx_nl_err(err, nle, "cannot create VXLAN interface %s", w->name);
	if (nle == -NLE_EXIST)
		lx_err_hint(
			err,
			"Something else of this machine uses VXLAN id %u on UDP port %d; another cluster's "
			"agent? Look with: ip -d link show type vxlan",
			w->id, LX_VXLAN_PORT);
	return err ? lx_code_errno(err->code) : -EIO;
}

/* Alias, MTU, bridge and IFF_UP, as far as they differ. */
static int adjust(struct nl_sock *sock, struct rtnl_link *link, const struct want *w, struct lx_err *err)
{
	struct rtnl_link *change = rtnl_link_alloc();
	char alias[ALIAS_MAX];
	bool differs = false;
	int nle = 0;

	if (!change)
		return lx_err_oom(err);
	alias_of(w->network, alias);
	if (!lx_streq(rtnl_link_get_ifalias(link), alias)) {
		rtnl_link_set_ifalias(change, alias);
		differs = true;
	}
	if (rtnl_link_get_mtu(link) != w->mtu) {
		rtnl_link_set_mtu(change, w->mtu);
		differs = true;
	}
	if (rtnl_link_get_master(link) != w->master) {
		rtnl_link_set_master(change, w->master);
		differs = true;
	}
	if (!(rtnl_link_get_flags(link) & IFF_UP)) {
		rtnl_link_set_flags(change, IFF_UP);
		differs = true;
	}
	if (differs)
		nle = rtnl_link_change(sock, link, change, 0);
	rtnl_link_put(change);
	return nle < 0 ? lx_nl_err(err, nle, "cannot configure VXLAN interface %s", w->name) : 0;
}

/* *ret is NULL when there is none. */
static int get_link(struct nl_sock *sock, const char *name, struct rtnl_link **ret, struct lx_err *err)
{
	int nle = rtnl_link_get_kernel(sock, 0, name, ret);

	if (nle == 0)
		return 0;
	*ret = NULL;
	return lx_nl_is_absent(nle) ? 0 : lx_nl_err(err, nle, "cannot look up interface %s", name);
}

static int remove_link(struct nl_sock *sock, struct rtnl_link *link, struct lx_err *err)
{
	int nle = rtnl_link_delete(sock, link);

	if (nle < 0 && !lx_nl_is_absent(nle))
		return lx_nl_err(err, nle, "cannot remove interface %s", rtnl_link_get_name(link));
	return 0;
}

static int refuse_foreign(const struct want *w, struct lx_err *err)
{
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "interface %s exists and was not made for network %s",
			   w->name, w->network);

	lx_err_hint(err, "Remove it, if nothing needs it: ip link delete %s", w->name);
	return r;
}

static int sync_one(struct nl_sock *sock, const struct want *w, int *ifindex, struct lx_err *err)
{
	struct rtnl_link *link = NULL;
	int r = get_link(sock, w->name, &link, err);

	if (r == 0 && link && !is_ours(link, w->network))
		r = refuse_foreign(w, err);
	if (r == 0 && link && !fits(link, w)) {
		r = remove_link(sock, link, err);
		rtnl_link_put(link);
		link = NULL;
	}
	if (r == 0 && !link) {
		r = create(sock, w, err);
		if (r == 0)
			r = get_link(sock, w->name, &link, err);
		if (r == 0 && !link)
			r = lx_err_set(err, LX_ABORTED, "interface %s vanished as soon as it was created",
				       w->name);
	}
	if (r == 0)
		r = lx_sysctl_bridge(w->name, w->v6, err);
	if (r == 0)
		r = adjust(sock, link, w, err);
	if (r == 0)
		*ifindex = rtnl_link_get_ifindex(link);
	rtnl_link_put(link);
	return r;
}

/* ------------------------------------------------------------------ what the header promises */

int lx_tunnel_sync(struct nl_sock *sock, const struct lx_network_config *config, const struct lx_plan *plan,
		   uint32_t mtu, struct lx_tunnel *ret, struct lx_err *err)
{
	char guests[IFNAMSIZ], hosts[IFNAMSIZ];
	struct want w = {
		.name = lx_tunnel_guests_name(config->vxlan_id, guests),
		.network = config->name,
		.id = config->vxlan_id,
		.local = &plan->self,
		.mtu = mtu,
		.master = (int)if_nametoindex(config->name),
	};
	int r = sync_one(sock, &w, &ret->guests, err);

	if (r < 0)
		return r;
	w.name = lx_tunnel_hosts_name(config->vxlan_id, hosts);
	w.id = HOSTS_ID(config->vxlan_id);
	w.hwaddr = plan->self_hwaddr;
	w.master = 0;
	w.v6 = config->v6.family != 0;
	return sync_one(sock, &w, &ret->hosts, err);
}

struct removal {
	struct nl_sock *sock;
	const char *network;
	uint32_t keep;
	struct lx_err *err;
	int r;
};

static void remove_if_ours(struct nl_object *object, void *arg)
{
	struct rtnl_link *link = (struct rtnl_link *)(void *)object;
	struct removal *rm = arg;

	if (rm->r == 0 && is_ours(link, rm->network) &&
	    (rm->keep == 0 || lx_tunnel_id(rtnl_link_get_name(link)) != rm->keep))
		rm->r = remove_link(rm->sock, link, rm->err);
}

int lx_tunnel_delete_others(struct nl_sock *sock, const char *network, uint32_t vxlan_id, struct lx_err *err)
{
	struct removal rm = { sock, network, vxlan_id, err, 0 };
	struct nl_cache *cache;
	int nle = rtnl_link_alloc_cache(sock, AF_UNSPEC, &cache);

	if (nle < 0)
		return lx_nl_err(err, nle, "cannot list the machine's interfaces");
	nl_cache_foreach(cache, remove_if_ours, &rm);
	nl_cache_free(cache);
	return rm.r;
}

int lx_tunnel_delete(struct nl_sock *sock, const char *network, struct lx_err *err)
{
	return lx_tunnel_delete_others(sock, network, 0, err);
}

struct search {
	const struct lx_subnet *addr;
	int ifindex;
};

static void look_at_address(struct nl_object *object, void *arg)
{
	struct rtnl_addr *addr = (struct rtnl_addr *)(void *)object;
	struct search *s = arg;
	struct lx_subnet found;

	if (lx_nl_subnet(rtnl_addr_get_local(addr), &found) && found.family == s->addr->family &&
	    memcmp(found.addr, s->addr->addr, lx_subnet_bytes(found.family)) == 0)
		s->ifindex = rtnl_addr_get_ifindex(addr);
}

uint32_t lx_tunnel_underlay_mtu(struct nl_sock *sock, const struct lx_subnet *self)
{
	struct search s = { .addr = self };
	struct rtnl_link *link;
	struct nl_cache *cache;
	uint32_t mtu = 0;

	if (self->family == 0 || rtnl_addr_alloc_cache(sock, &cache) < 0)
		return 0;
	nl_cache_foreach(cache, look_at_address, &s);
	nl_cache_free(cache);
	if (s.ifindex > 0 && rtnl_link_get_kernel(sock, s.ifindex, NULL, &link) == 0) {
		mtu = rtnl_link_get_mtu(link);
		rtnl_link_put(link);
	}
	return mtu;
}
