/*
 * Bridges, through libnl.
 *
 * A bridge is ours when it carries our alias, or our hardware address: the kernel sets the
 * alias only in a second request, and an agent may be killed between the two. What is ours
 * is adopted and adjusted in place, so that guests stay attached.
 *
 * Ways to fail: an interface of that name which is not ours; no permission; an address the
 * kernel refuses.
 */
#include "agent/network/bridge.h"

#include <errno.h>
#include <string.h>

#include <linux/if.h>
#include <linux/if_addr.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>

#include "agent/network/nl.h"
#include "agent/network/sysctl.h"
#include "lib/str.h"

#define OUR_ALIAS "lxmgr"

/* ------------------------------------------------------------------ identity */

static struct nl_addr *our_hwaddr(const char *name)
{
	uint8_t mac[LX_HWADDR_BYTES];

	lx_network_hwaddr(name, mac);
	return nl_addr_build(AF_LLC, mac, sizeof(mac));
}

static bool same_hwaddr(struct rtnl_link *link, struct nl_addr *hwaddr)
{
	struct nl_addr *a = rtnl_link_get_addr(link);

	return a && nl_addr_get_len(a) == nl_addr_get_len(hwaddr) &&
	       memcmp(nl_addr_get_binary_addr(a), nl_addr_get_binary_addr(hwaddr), nl_addr_get_len(a)) == 0;
}

static bool is_ours(struct rtnl_link *link, struct nl_addr *hwaddr)
{
	return lx_streq(rtnl_link_get_type(link), "bridge") &&
	       (lx_streq(rtnl_link_get_ifalias(link), OUR_ALIAS) || same_hwaddr(link, hwaddr));
}

/* *ret is NULL when there is no such interface. */
static int get_link(struct nl_sock *sock, const char *name, struct rtnl_link **ret, struct lx_err *err)
{
	int nle = rtnl_link_get_kernel(sock, 0, name, ret);

	if (nle < 0) {
		*ret = NULL;
		return lx_nl_is_absent(nle) ? 0 : lx_nl_err(err, nle, "cannot look up interface %s", name);
	}
	return 0;
}

/* ------------------------------------------------------------------ the link */

static int create(struct nl_sock *sock, const char *name, struct nl_addr *hwaddr, struct lx_err *err)
{
	struct rtnl_link *link = rtnl_link_bridge_alloc();

	if (!link)
		return lx_err_oom(err);
	rtnl_link_set_name(link, name);
	rtnl_link_set_addr(link, hwaddr);
	int nle = rtnl_link_add(sock, link, NLM_F_CREATE | NLM_F_EXCL);

	rtnl_link_put(link);
	return nle < 0 ? lx_nl_err(err, nle, "cannot create bridge %s", name) : 0;
}

/* Alias, hardware address, MTU and IFF_UP, as far as they differ. */
static int adjust(struct nl_sock *sock, struct rtnl_link *link, struct nl_addr *hwaddr, uint32_t mtu,
		  struct lx_err *err)
{
	struct rtnl_link *change = rtnl_link_alloc();
	bool differs = false;
	int nle = 0;

	if (!change)
		return lx_err_oom(err);
	if (!lx_streq(rtnl_link_get_ifalias(link), OUR_ALIAS)) {
		rtnl_link_set_ifalias(change, OUR_ALIAS);
		differs = true;
	}
	if (!same_hwaddr(link, hwaddr)) {
		rtnl_link_set_addr(change, hwaddr);
		differs = true;
	}
	if (rtnl_link_get_mtu(link) != mtu) {
		rtnl_link_set_mtu(change, mtu);
		differs = true;
	}
	if (!(rtnl_link_get_flags(link) & IFF_UP)) {
		rtnl_link_set_flags(change, IFF_UP);
		differs = true;
	}
	if (differs)
		nle = rtnl_link_change(sock, link, change, 0);
	rtnl_link_put(change);
	return nle < 0 ? lx_nl_err(err, nle, "cannot configure bridge %s", rtnl_link_get_name(link)) : 0;
}

/* ------------------------------------------------------------------ addresses */

/* NULL when out of memory. */
static struct rtnl_addr *make_address(int ifindex, const struct lx_subnet *s)
{
	struct lx_subnet b = lx_subnet_broadcast(s);
	struct rtnl_addr *addr = rtnl_addr_alloc();
	struct nl_addr *local = nl_addr_build(s->family, s->addr, lx_subnet_bytes(s->family));
	struct nl_addr *broadcast = nl_addr_build(s->family, b.addr, lx_subnet_bytes(s->family));
	bool ok = addr && local && broadcast;

	if (ok) {
		nl_addr_set_prefixlen(local, (int)s->prefix);
		rtnl_addr_set_ifindex(addr, ifindex);
		ok = rtnl_addr_set_local(addr, local) == 0;
	}
	if (ok && s->family == AF_INET && s->prefix < lx_subnet_bits(AF_INET))
		ok = rtnl_addr_set_broadcast(addr, broadcast) == 0;
	else if (ok && s->family == AF_INET6)
		/* A bridge without ports has no carrier: duplicate detection would never end. */
		rtnl_addr_set_flags(addr, IFA_F_NODAD);
	nl_addr_put(broadcast);
	nl_addr_put(local);
	if (ok)
		return addr;
	rtnl_addr_put(addr);
	return NULL;
}

static int add_address(struct nl_sock *sock, int ifindex, const struct lx_subnet *s, struct lx_err *err)
{
	struct rtnl_addr *addr = make_address(ifindex, s);
	char text[LX_SUBNET_TEXT];

	if (!addr)
		return lx_err_oom(err);
	int nle = rtnl_addr_add(sock, addr, NLM_F_CREATE | NLM_F_REPLACE);

	rtnl_addr_put(addr);
	return nle < 0 ? lx_nl_err(err, nle, "cannot give the bridge address %s", lx_subnet_format(s, text))
		       : 0;
}

struct address_sync {
	struct nl_sock *sock;
	const struct lx_network_config *config;
	int ifindex;
	bool has_v4, has_host4;
	bool has_v6, has_host6;
	bool remove_others;
	int nle;
};

static void look_at_address(struct nl_object *object, void *arg)
{
	struct rtnl_addr *addr = (struct rtnl_addr *)(void *)object;
	struct address_sync *a = arg;
	struct lx_subnet s;

	if (rtnl_addr_get_ifindex(addr) != a->ifindex || !lx_nl_subnet(rtnl_addr_get_local(addr), &s))
		return;
	if (lx_subnet_equal(&s, &a->config->v4)) {
		a->has_v4 = true;
	} else if (lx_subnet_equal(&s, &a->config->v6)) {
		a->has_v6 = true;
	} else if (lx_subnet_equal(&s, &a->config->host4)) {
		a->has_host4 = true;
	} else if (lx_subnet_equal(&s, &a->config->host6)) {
		a->has_host6 = true;
	} else if (a->remove_others && a->nle >= 0 && rtnl_addr_get_scope(addr) != RT_SCOPE_LINK) {
		a->nle = rtnl_addr_delete(a->sock, addr, 0);
	}
}

static int walk_addresses(struct address_sync *a)
{
	struct nl_cache *cache;
	int nle = rtnl_addr_alloc_cache(a->sock, &cache);

	if (nle < 0)
		return nle;
	nl_cache_foreach(cache, look_at_address, a);
	nl_cache_free(cache);
	return a->nle;
}

static int sync_addresses(struct nl_sock *sock, int ifindex, const struct lx_network_config *config,
			  struct lx_err *err)
{
	struct address_sync a = { .sock = sock, .config = config, .ifindex = ifindex, .remove_others = true };
	int r = walk_addresses(&a);

	if (r < 0)
		return lx_nl_err(err, r, "cannot set the addresses of bridge %s", config->name);
	r = 0;
	if (config->v4.family != 0 && !a.has_v4)
		r = add_address(sock, ifindex, &config->v4, err);
	if (r == 0 && config->v6.family != 0 && !a.has_v6)
		r = add_address(sock, ifindex, &config->v6, err);
	if (r == 0 && config->host4.family != 0 && !a.has_host4)
		r = add_address(sock, ifindex, &config->host4, err);
	if (r == 0 && config->host6.family != 0 && !a.has_host6)
		r = add_address(sock, ifindex, &config->host6, err);
	return r;
}

/* ------------------------------------------------------------------ what the header promises */

static int refuse_foreign(const char *name, struct rtnl_link *link, struct lx_err *err)
{
	const char *type = rtnl_link_get_type(link);
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "interface %s exists and was not made by lxmgr (%s)",
			   name, type ? type : "hardware");

	lx_err_hint(err, "Give the network another name, or remove the interface: ip link delete %s", name);
	return r;
}

int lx_bridge_sync(struct nl_sock *sock, const struct lx_network_config *config, uint32_t mtu,
		   struct lx_err *err)
{
	struct nl_addr *hwaddr = our_hwaddr(config->name);
	struct rtnl_link *link = NULL;
	int r;

	if (!hwaddr)
		return lx_err_oom(err);
	r = get_link(sock, config->name, &link, err);
	if (r == 0 && !link) {
		r = create(sock, config->name, hwaddr, err);
		if (r == 0)
			r = get_link(sock, config->name, &link, err);
		if (r == 0 && !link)
			r = lx_err_set(err, LX_ABORTED, "bridge %s vanished as soon as it was created",
				       config->name);
	} else if (r == 0 && !is_ours(link, hwaddr)) {
		r = refuse_foreign(config->name, link, err);
	}
	if (r == 0)
		r = lx_sysctl_bridge(config->name, config->v6.family != 0, err);
	if (r == 0)
		r = adjust(sock, link, hwaddr, mtu, err);
	if (r == 0)
		r = sync_addresses(sock, rtnl_link_get_ifindex(link), config, err);
	rtnl_link_put(link);
	nl_addr_put(hwaddr);
	return r;
}

bool lx_bridge_is_up(struct nl_sock *sock, const struct lx_network_config *config)
{
	struct nl_addr *hwaddr = our_hwaddr(config->name);
	struct rtnl_link *link = NULL;
	bool up = false;

	if (hwaddr && get_link(sock, config->name, &link, NULL) == 0 && link && is_ours(link, hwaddr) &&
	    (rtnl_link_get_flags(link) & IFF_UP)) {
		struct address_sync a = { .sock = sock,
					  .config = config,
					  .ifindex = rtnl_link_get_ifindex(link) };

		up = walk_addresses(&a) >= 0 && (config->v4.family == 0 || a.has_v4) &&
		     (config->v6.family == 0 || a.has_v6);
	}
	rtnl_link_put(link);
	nl_addr_put(hwaddr);
	return up;
}

int lx_bridge_delete(struct nl_sock *sock, const char *name, struct lx_err *err)
{
	struct nl_addr *hwaddr = our_hwaddr(name);
	struct rtnl_link *link = NULL;
	int r, nle;

	if (!hwaddr)
		return lx_err_oom(err);
	r = get_link(sock, name, &link, err);
	if (r == 0 && link && is_ours(link, hwaddr)) {
		nle = rtnl_link_delete(sock, link);
		if (nle < 0 && !lx_nl_is_absent(nle))
			r = lx_nl_err(err, nle, "cannot remove bridge %s", name);
	}
	rtnl_link_put(link);
	nl_addr_put(hwaddr);
	return r;
}

uint32_t lx_bridge_mtu(struct nl_sock *sock, const char *name)
{
	struct rtnl_link *link = NULL;
	uint32_t mtu = 0;

	if (get_link(sock, name, &link, NULL) == 0 && link)
		mtu = rtnl_link_get_mtu(link);
	rtnl_link_put(link);
	return mtu;
}
