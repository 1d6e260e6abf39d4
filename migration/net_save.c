/*
 * Links, addresses, routes, rules and permanent neighbours are three to six netlink dumps;
 * knobs come from /proc/sys/net, the packet filter, where there is one, from nft.
 *
 * Ways to fail: a link that cannot be made anew elsewhere; the init process is gone; the
 * namespace changes while it is read, which a frozen guest's does not.
 */
#include "migration/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/net_links.h"
#include "migration/net_message.h"
#include "migration/net_nft.h"
#include "migration/net_sysctl.h"
#include "migration/netlink.h"
#include "proto/pb.h"

/* ------------------------------------------------------------------ links */

static int save_link(void *arg, const Lxmgr__V1__GuestLink *link, const Lxmgr__V1__Nic *nic,
		     struct lx_err *err)
{
	Lxmgr__V1__GuestNetwork *out = arg;
	Lxmgr__V1__GuestLink *copy, **more;

	if (!lx_net_link_carried(link, nic)) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION,
				   "interface %s (%s) is none of the instance's cards and cannot be moved",
				   link->name, lx_str_empty(link->kind) ? "hardware" : link->kind);

		lx_err_hint(err, "Remove it inside the instance first: ip link delete %s", link->name);
		return r;
	}
	copy = LX_PB_DUP(Lxmgr__V1__GuestLink, link);
	more = copy ? realloc(out->links, (out->n_links + 1) * sizeof(*more)) : NULL;
	if (!more) {
		lx_pb_free(copy);
		return lx_err_oom(err);
	}
	out->links = more;
	out->links[out->n_links++] = copy;
	return 0;
}

/* ------------------------------------------------------------------ messages */

struct list {
	size_t *n;
	ProtobufCBinaryData **items;
	unsigned rank;
	bool (*wanted)(struct nlmsghdr *h);
};

static int save_message(void *arg, struct nlmsghdr *h, struct lx_err *err)
{
	struct list *l = arg;
	ProtobufCBinaryData *more;
	uint8_t *copy;

	if (!l->wanted(h) || lx_net_message_rank(h) != l->rank)
		return 0;
	if (*l->n >= LX_NET_MESSAGES_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "there are more than %u of one kind: %s",
				  LX_NET_MESSAGES_MAX, lx_net_message_name(h));
	/* Doubled at powers of two. */
	if ((*l->n & (*l->n - 1)) == 0) {
		more = realloc(*l->items, (*l->n ? *l->n * 2 : 1) * sizeof(*more));
		if (!more)
			return lx_err_oom(err);
		*l->items = more;
	}
	copy = malloc(h->nlmsg_len);
	if (!copy)
		return lx_err_oom(err);
	memcpy(copy, h, h->nlmsg_len);
	(*l->items)[(*l->n)++] = (ProtobufCBinaryData){ .len = h->nlmsg_len, .data = copy };
	return 0;
}

static int save_messages(struct nl_sock *sock, int type, int family, size_t *n, ProtobufCBinaryData **items,
			 unsigned rank, struct lx_err *err)
{
	union {
		struct ifaddrmsg address;
		struct rtmsg route;
		struct ndmsg neighbour;
		struct rtgenmsg any; /* all of them begin with the family */
	} head = { 0 };
	struct list l = { .n = n, .items = items, .rank = rank, .wanted = lx_net_message_wanted };

	head.any.rtgen_family = (unsigned char)family;
	return lx_netlink_dump(sock, type, &head, sizeof(head), save_message, &l, err);
}

static int save_learned(struct nl_sock *sock, Lxmgr__V1__GuestNetwork *out, struct lx_err *err)
{
	const struct ndmsg head = { .ndm_family = AF_UNSPEC };
	struct list l = { .n = &out->n_learned, .items = &out->learned, .wanted = lx_net_message_learned };

	return lx_netlink_dump(sock, RTM_GETNEIGH, &head, sizeof(head), save_message, &l, err);
}

static uint32_t link_of(const ProtobufCBinaryData *address)
{
	return ((struct ifaddrmsg *)nlmsg_data((struct nlmsghdr *)(void *)address->data))->ifa_index;
}

/* IPv6 addresses of a link are told with the newest first, and given back with the oldest first. */
static void reverse_each_link(ProtobufCBinaryData *items, size_t n)
{
	for (size_t first = 0, end; first < n; first = end) {
		for (end = first + 1; end < n && link_of(&items[end]) == link_of(&items[first]);)
			end++;
		for (size_t i = first, j = end - 1; i < j; i++, j--) {
			ProtobufCBinaryData one = items[i];

			items[i] = items[j];
			items[j] = one;
		}
	}
}

static int save_all_messages(struct nl_sock *sock, Lxmgr__V1__GuestNetwork *out, struct lx_err *err)
{
	static const int families[] = { AF_INET, AF_INET6 };
	int r = 0;

	for (size_t f = 0; r == 0 && f < LX_ARRAY_SIZE(families); f++) {
		size_t first = out->n_addresses;

		r = save_messages(sock, RTM_GETADDR, families[f], &out->n_addresses, &out->addresses, 0, err);
		if (r == 0 && families[f] == AF_INET6)
			reverse_each_link(out->addresses + first, out->n_addresses - first);
		for (unsigned rank = 0; r == 0 && rank < 2; rank++)
			r = save_messages(sock, RTM_GETROUTE, families[f], &out->n_routes, &out->routes, rank,
					  err);
		if (r == 0)
			r = save_messages(sock, RTM_GETRULE, families[f], &out->n_rules, &out->rules, 0, err);
	}
	for (size_t f = 0; r == 0 && f < LX_ARRAY_SIZE(families); f++)
		r = save_messages(sock, RTM_GETNEIGH, families[f], &out->n_routes, &out->routes, 0, err);
	return r < 0 ? r : save_learned(sock, out, err);
}

/* ------------------------------------------------------------------ what the header promises */

int lx_net_save_ahead(pid_t pid, Lxmgr__V1__GuestNetwork *out, struct lx_err *err)
{
	lx_autoclose int netns = -1;
	int r = lx_netns_open(pid, &netns, err);

	return r < 0 ? r : lx_net_sysctl_save(netns, out, err);
}

int lx_net_save(pid_t pid, size_t n_nics, Lxmgr__V1__Nic *const *nics, Lxmgr__V1__GuestNetwork *out,
		struct lx_err *err)
{
	lx_autosock struct nl_sock *sock = NULL;
	lx_autofree char *rules = NULL;
	lx_autoclose int netns = -1;
	int r = lx_netns_open(pid, &netns, err);

	if (r == 0)
		r = lx_netlink_open(netns, NETLINK_ROUTE, &sock, err);
	if (r == 0)
		r = lx_net_links(sock, n_nics, nics, save_link, out, err);
	if (r == 0)
		r = save_all_messages(sock, out, err);
	if (r == 0 && out->n_sysctls == 0)
		r = lx_net_sysctl_save(netns, out, err);
	if (r == 0)
		r = lx_net_nft_save(netns, &rules, err);
	if (r == 0 && lx_pb_set(&out->nftables, rules) < 0)
		r = lx_err_oom(err);
	if (r < 0)
		lx_err_wrap(err, "cannot save the instance's network");
	return r;
}
