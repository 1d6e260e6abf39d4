/*
 * The order matters: knobs that new interfaces inherit, lo, the cards (down), their own
 * knobs, up, addresses, routes, rules, neighbours, packet filter.
 *
 * IPv6 would begin by giving each card that comes up a link-local address and by looking
 * whether anybody else has it. So a card comes up with address generation off, gets the addresses of
 * before without that search, and its own mode back at the end.
 *
 * Ways to fail: the host end's name is taken by something that is no veth; the kernel refuses
 * a message (the error says which); no nft for a guest with rules. What was made stays: the
 * namespace goes with its process, and the host ends with it.
 */
#include "migration/net.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/net_message.h"
#include "migration/net_nft.h"
#include "migration/net_sysctl.h"
#include "migration/netlink.h"

#define HWADDR_LEN 6
#define LINKS_MAX  256

struct load {
	const Lxmgr__V1__GuestNetwork *net;
	size_t n_nics;
	Lxmgr__V1__Nic *const *nics;
	int netns;
	int host_netns;
	struct nl_sock *inside;
	struct nl_sock *host;
};

/* ------------------------------------------------------------------ what came in */

static bool is_link_name(const char *s)
{
	return !lx_str_empty(s) && strlen(s) < IFNAMSIZ && !strpbrk(s, "/: \t\n") && !lx_streq(s, ".") &&
	       !lx_streq(s, "..");
}

static bool is_lo(const Lxmgr__V1__GuestLink *link)
{
	return lx_streq(link->kind, "loopback");
}

static const Lxmgr__V1__Nic *nic_of(const struct load *l, const Lxmgr__V1__GuestLink *link)
{
	for (size_t i = 0; i < l->n_nics; i++)
		if (lx_streq(l->nics[i]->host_name, link->host_name))
			return l->nics[i];
	return NULL;
}

static int check(const struct load *l, struct lx_err *err)
{
	if (l->net->n_links > LINKS_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu interfaces are more than %d",
				  l->net->n_links, LINKS_MAX);
	for (size_t i = 0; i < l->net->n_links; i++) {
		const Lxmgr__V1__GuestLink *link = l->net->links[i];

		if (!is_link_name(link->name) || link->index == 0 || link->index > INT32_MAX)
			return lx_err_set(err, LX_INVALID_ARGUMENT, "an interface of the guest is malformed");
		if (is_lo(link))
			continue;
		if (!lx_streq(link->kind, "veth") || link->hwaddr.len != HWADDR_LEN)
			return lx_err_set(err, LX_INVALID_ARGUMENT,
					  "interface %s of the guest is of a kind that cannot be made: %s",
					  link->name, link->kind);
		const Lxmgr__V1__Nic *nic = nic_of(l, link);

		if (!nic || !is_link_name(nic->host_name))
			return lx_err_set(err, LX_FAILED_PRECONDITION,
					  "interface %s of the guest is none of the instance's cards (%s)",
					  link->name, link->host_name);
	}
	return 0;
}

/* ------------------------------------------------------------------ links */

/* A request about a link: by index, or by name when that is 0. NULL when out of memory. */
static struct nl_msg *link_message(int type, int flags, int index, unsigned up)
{
	struct ifinfomsg m = {
		.ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = up, .ifi_change = up
	};
	struct nl_msg *msg = nlmsg_alloc_simple(type, NLM_F_REQUEST | flags);

	if (msg && nlmsg_append(msg, &m, sizeof(m), NLMSG_ALIGNTO) < 0) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

struct seen {
	bool exists;
	bool veth;
};

static int see_kind(void *arg, struct nlmsghdr *h, struct lx_err *err)
{
	struct nlattr *info = nlmsg_find_attr(h, sizeof(struct ifinfomsg), IFLA_LINKINFO);
	struct nlattr *kind = info ? nla_find(nla_data(info), nla_len(info), IFLA_INFO_KIND) : NULL;

	*(struct seen *)arg = (struct seen){ true, kind && nla_strcmp(kind, "veth") == 0 };
	return 0;
}

/* What an earlier try left under the name of a host end. */
static int remove_stale(struct nl_sock *host, const char *name, struct lx_err *err)
{
	lx_automsg struct nl_msg *ask = link_message(RTM_GETLINK, 0, 0, 0);
	lx_automsg struct nl_msg *del = link_message(RTM_DELLINK, 0, 0, 0);
	struct lx_err why = LX_ERR_INIT;
	struct seen seen = { 0 };
	int r;

	if (!ask || !del || nla_put_string(ask, IFLA_IFNAME, name) < 0 ||
	    nla_put_string(del, IFLA_IFNAME, name) < 0)
		return lx_err_oom(err);
	lx_netlink_query(host, ask, see_kind, &seen, NULL);
	if (!seen.exists)
		return 0; /* or it cannot be seen: then making it says why */
	if (!seen.veth) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "interface %s exists and is no veth", name);
		lx_err_hint(err,
			    "It is in the way of the instance's network card; remove it: ip link delete %s",
			    name);
		return r;
	}
	r = lx_netlink_call(host, del, &why);
	if (r < 0 && r != -ENODEV) {
		if (err)
			*err = why;
		lx_err_wrap(err, "cannot remove the stale interface %s", name);
		return r;
	}
	return 0;
}

/* The host's end, in the veth message's attribute for the peer. */
static int put_host_end(struct nl_msg *msg, const struct load *l, const Lxmgr__V1__GuestLink *link)
{
	struct ifinfomsg m = { .ifi_family = AF_UNSPEC };
	struct nlattr *peer = nla_nest_start(msg, VETH_INFO_PEER);

	if (!peer || nlmsg_append(msg, &m, sizeof(m), NLMSG_ALIGNTO) < 0 ||
	    nla_put_string(msg, IFLA_IFNAME, nic_of(l, link)->host_name) < 0 ||
	    nla_put_u32(msg, IFLA_MTU, link->mtu) < 0 ||
	    nla_put_u32(msg, IFLA_NET_NS_FD, (uint32_t)l->host_netns) < 0)
		return -ENOMEM;
	nla_nest_end(msg, peer);
	return 0;
}

/*
 * From inside, with the host's end as the peer: the kernel takes an index only for the first
 * of the two, and looks for it where the request comes from.
 */
static int make_pair(const struct load *l, const Lxmgr__V1__GuestLink *link, struct lx_err *err)
{
	lx_automsg struct nl_msg *msg =
		link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, (int)link->index, 0);
	struct nlattr *info, *data;

	if (!msg || nla_put_string(msg, IFLA_IFNAME, link->name) < 0 ||
	    nla_put(msg, IFLA_ADDRESS, HWADDR_LEN, link->hwaddr.data) < 0 ||
	    nla_put_u32(msg, IFLA_MTU, link->mtu) < 0 ||
	    nla_put_u32(msg, IFLA_TXQLEN, link->tx_queue_len) < 0 ||
	    !(info = nla_nest_start(msg, IFLA_LINKINFO)) || nla_put_string(msg, IFLA_INFO_KIND, "veth") < 0 ||
	    !(data = nla_nest_start(msg, IFLA_INFO_DATA)) || put_host_end(msg, l, link) < 0)
		return lx_err_oom(err);
	nla_nest_end(msg, data);
	nla_nest_end(msg, info);
	return lx_netlink_call(l->inside, msg, err);
}

/* Both ends; the host's comes up first, so that the guest's finds a carrier when it does. */
static int make_veth(const struct load *l, const Lxmgr__V1__GuestLink *link, struct lx_err *err)
{
	const Lxmgr__V1__Nic *nic = nic_of(l, link);
	lx_automsg struct nl_msg *up = link_message(RTM_NEWLINK, 0, 0, IFF_UP);
	int r = remove_stale(l->host, nic->host_name, err);

	if (r < 0)
		return r;
	if (!up || nla_put_string(up, IFLA_IFNAME, nic->host_name) < 0)
		return lx_err_oom(err);
	r = make_pair(l, link, err);
	if (r == 0)
		r = lx_netlink_call(l->host, up, err);
	if (r < 0)
		lx_err_wrap(err, "cannot make the network card %s (%s)", link->name, nic->host_name);
	return r;
}

static int set_altnames(const struct load *l, const Lxmgr__V1__GuestLink *link, struct lx_err *err)
{
	lx_automsg struct nl_msg *msg =
		link_message(RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND, (int)link->index, 0);
	struct nlattr *list = msg ? nla_nest_start(msg, IFLA_PROP_LIST) : NULL;
	int r;

	if (!list)
		return lx_err_oom(err);
	for (size_t i = 0; i < link->n_altnames; i++)
		if (nla_put_string(msg, IFLA_ALT_IFNAME, link->altnames[i]) < 0)
			return lx_err_oom(err);
	nla_nest_end(msg, list);
	r = lx_netlink_call(l->inside, msg, err);
	if (r < 0)
		lx_err_wrap(err, "cannot give interface %s its other names", link->name);
	return r;
}

static int set_addr_gen_mode(const struct load *l, const Lxmgr__V1__GuestLink *link, unsigned mode,
			     struct lx_err *err)
{
	lx_automsg struct nl_msg *msg = link_message(RTM_NEWLINK, 0, (int)link->index, 0);
	struct nlattr *spec = msg ? nla_nest_start(msg, IFLA_AF_SPEC) : NULL;
	struct nlattr *six = spec ? nla_nest_start(msg, AF_INET6) : NULL;
	struct lx_err why = LX_ERR_INIT;
	int r;

	if (!six || nla_put_u8(msg, IFLA_INET6_ADDR_GEN_MODE, (uint8_t)mode) < 0)
		return lx_err_oom(err);
	nla_nest_end(msg, six);
	nla_nest_end(msg, spec);
	r = lx_netlink_call(l->inside, msg, &why);
	if (r == 0 || r == -EAFNOSUPPORT || r == -EOPNOTSUPP)
		return 0; /* no IPv6 on this machine, or on this link: there is nothing to keep it from */
	if (err)
		*err = why;
	lx_err_wrap(err, "cannot set IPv6 address generation of %s", link->name);
	return r;
}

static int bring_up(const struct load *l, const Lxmgr__V1__GuestLink *link, struct lx_err *err)
{
	lx_automsg struct nl_msg *msg = link_message(RTM_NEWLINK, 0, (int)link->index, IFF_UP);
	int r;

	if (!msg || (is_lo(link) && (nla_put_u32(msg, IFLA_MTU, link->mtu) < 0 ||
				     nla_put_u32(msg, IFLA_TXQLEN, link->tx_queue_len) < 0)))
		return lx_err_oom(err);
	r = lx_netlink_call(l->inside, msg, err);
	if (r < 0)
		lx_err_wrap(err, "cannot bring up %s", link->name);
	return r;
}

static int load_link(const struct load *l, const Lxmgr__V1__GuestLink *link, struct lx_err *err)
{
	int r = is_lo(link) ? 0 : make_veth(l, link, err);

	if (r == 0 && link->n_altnames > 0)
		r = set_altnames(l, link, err);
	if (r == 0)
		r = lx_net_sysctl_load_link(l->netns, l->net, link->name, err);
	if (r == 0 && !is_lo(link))
		r = set_addr_gen_mode(l, link, IN6_ADDR_GEN_MODE_NONE, err);
	if (r == 0 && link->up)
		r = bring_up(l, link, err);
	return r;
}

static int load_links(const struct load *l, bool lo, struct lx_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->net->n_links; i++)
		if (is_lo(l->net->links[i]) == lo)
			r = load_link(l, l->net->links[i], err);
	return r;
}

static int restore_addr_gen_modes(const struct load *l, struct lx_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->net->n_links; i++)
		if (!is_lo(l->net->links[i]))
			r = set_addr_gen_mode(l, l->net->links[i],
					      lx_net_sysctl_addr_gen_mode(l->net, l->net->links[i]->name),
					      err);
	return r;
}

/* ------------------------------------------------------------------ messages */

static bool is_address6(struct nl_msg *msg)
{
	struct nlmsghdr *h = nlmsg_hdr(msg);

	return h->nlmsg_type == RTM_NEWADDR && ((struct ifaddrmsg *)nlmsg_data(h))->ifa_family == AF_INET6;
}

/*
 * An IPv6 address is added without duplicate detection, and then changed to the flags it had: the
 * kernel has no way to say it at once.
 */
static int add_address6(struct nl_sock *sock, struct nl_msg *msg, struct lx_err *err)
{
	struct nlattr *a = nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct ifaddrmsg), IFA_FLAGS);
	uint32_t flags = a ? nla_get_u32(a) : 0;
	int r;

	if (!a || flags & IFA_F_NODAD)
		return lx_netlink_call(sock, msg, err);
	*(uint32_t *)nla_data(a) = flags | IFA_F_NODAD;
	r = lx_netlink_call(sock, msg, err);
	if (r < 0)
		return r;
	*(uint32_t *)nla_data(a) = flags;
	nlmsg_hdr(msg)->nlmsg_flags &= (uint16_t)~NLM_F_EXCL;
	nlmsg_hdr(msg)->nlmsg_flags |= NLM_F_REPLACE;
	return lx_netlink_call(sock, msg, err);
}

static int load_message(const struct load *l, const ProtobufCBinaryData *data, int type, struct lx_err *err)
{
	lx_automsg struct nl_msg *msg = NULL;
	struct lx_err why = LX_ERR_INIT;
	int r = lx_net_message_request(data, type, &msg, err);

	if (r < 0)
		return r;
	r = is_address6(msg) ? add_address6(l->inside, msg, &why) : lx_netlink_call(l->inside, msg, &why);
	if (r == 0 || r == -EEXIST)
		return 0; /* it came by itself, with another */
	if (err)
		*err = why;
	lx_err_wrap(err, "cannot set an %s of the guest", lx_net_message_name(nlmsg_hdr(msg)));
	return r;
}

static int load_messages(const struct load *l, size_t n, const ProtobufCBinaryData *items, int type,
			 struct lx_err *err)
{
	int r = 0;

	if (n > LX_NET_MESSAGES_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu network messages are more than %u", n,
				  LX_NET_MESSAGES_MAX);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = load_message(l, &items[i], type, err);
	return r;
}

static int type_of(const ProtobufCBinaryData *data)
{
	struct nlmsghdr h = { 0 };

	if (data->len >= sizeof(h))
		memcpy(&h, data->data, sizeof(h));
	return h.nlmsg_type;
}

/*
 * Routes whose gateway is reached through a route that follows fail at first: passes go on
 * as long as each gets some further. Neighbours are among them, see save_all_messages().
 */
static int load_routes(const struct load *l, struct lx_err *err)
{
	size_t n = l->net->n_routes, left = n, before;
	lx_autofree bool *done = calloc(n + 1, sizeof(*done));
	struct lx_err why = LX_ERR_INIT;
	int r = 0;

	if (!done)
		return lx_err_oom(err);
	if (n > LX_NET_MESSAGES_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu routes are more than %u", n,
				  LX_NET_MESSAGES_MAX);
	do {
		before = left;
		for (size_t i = 0; i < n; i++) {
			int type = type_of(&l->net->routes[i]) == RTM_NEWNEIGH ? RTM_NEWNEIGH : RTM_NEWROUTE;
			int s;

			if (done[i])
				continue;
			s = load_message(l, &l->net->routes[i], type, &why);
			done[i] = s == 0;
			left -= s == 0;
			r = s < 0 ? s : r;
		}
	} while (left > 0 && left < before);
	if (left == 0)
		return 0;
	if (err)
		*err = why;
	return r;
}

/* Who is not known there will be asked for, as ever: none of them is a reason to fail. */
static void load_learned(const struct load *l)
{
	for (size_t i = 0; i < l->net->n_learned && i < LX_NET_MESSAGES_MAX; i++)
		(void)load_message(l, &l->net->learned[i], RTM_NEWNEIGH, NULL);
}

/* ------------------------------------------------------------------ what the header promises */

static int load(const struct load *l, struct lx_err *err)
{
	const Lxmgr__V1__GuestNetwork *net = l->net;
	int r = lx_net_sysctl_load(l->netns, net, err);

	if (r == 0)
		r = load_links(l, true, err);
	if (r == 0)
		r = load_links(l, false, err);
	if (r == 0)
		r = load_messages(l, net->n_addresses, net->addresses, RTM_NEWADDR, err);
	if (r == 0)
		r = load_routes(l, err);
	if (r == 0)
		r = load_messages(l, net->n_rules, net->rules, RTM_NEWRULE, err);
	if (r == 0)
		r = restore_addr_gen_modes(l, err);
	if (r == 0 && !lx_str_empty(net->nftables))
		r = lx_net_nft_load(l->netns, net->nftables, err);
	if (r == 0)
		load_learned(l);
	return r;
}

int lx_net_load_ahead(Lxmgr__V1__GuestNetwork *fresh, struct lx_err *err)
{
	lx_autoclose int own = -1, netns = -1;
	int r = lx_netns_open(gettid(), &own, err);

	if (r < 0)
		return r;
	if (unshare(CLONE_NEWNET) < 0)
		return lx_err_errno(err, errno, "cannot make a network namespace");
	r = lx_netns_open(gettid(), &netns, err);
	lx_netns_leave(lx_move_fd(own));
	return r < 0 ? r : lx_net_sysctl_save(netns, fresh, err);
}

int lx_net_load_prune(Lxmgr__V1__GuestNetwork *net, const Lxmgr__V1__GuestNetwork *fresh, struct lx_err *err)
{
	return lx_net_sysctl_prune(net, fresh) < 0 ? lx_err_oom(err) : 0;
}

int lx_net_load(pid_t pid, const Lxmgr__V1__GuestNetwork *net, size_t n_nics, Lxmgr__V1__Nic *const *nics,
		struct lx_err *err)
{
	lx_autosock struct nl_sock *inside = NULL, *host = NULL;
	lx_autoclose int netns = -1, host_netns = -1;
	struct load l = { .net = net, .n_nics = n_nics, .nics = nics };
	int r = check(&l, err);

	if (r == 0)
		r = lx_netns_open(pid, &netns, err);
	if (r == 0)
		r = lx_netns_open(gettid(), &host_netns, err);
	if (r == 0)
		r = lx_netlink_open(netns, NETLINK_ROUTE, &inside, err);
	if (r == 0)
		r = lx_netlink_open(-1, NETLINK_ROUTE, &host, err);
	l.netns = netns;
	l.host_netns = host_netns;
	l.inside = inside;
	l.host = host;
	if (r == 0)
		r = load(&l, err);
	if (r < 0)
		lx_err_wrap(err, "cannot make the instance's network");
	return r;
}
