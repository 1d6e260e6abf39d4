/*
 * A veth names its other end by index, in the namespace of that end. A link is a card's when
 * both ends name each other: names and hardware addresses are the guest's to change, and a
 * veth between two namespaces inside has another partner.
 */
#include "migration/net_links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/netlink.h"
#include "proto/pb.h"

/* Index of a host end and of what it says its other end is; 0: there is none. */
struct host_end {
	int index;
	uint32_t peer;
};

struct links {
	struct host_end *ends;
	size_t n_nics;
	Lxmgr__V1__Nic *const *nics;
	lx_net_link_fn fn;
	void *arg;
};

static struct nlattr *find(struct nlmsghdr *h, int type, int min)
{
	struct nlattr *a = nlmsg_find_attr(h, sizeof(struct ifinfomsg), type);

	return a && nla_len(a) >= min ? a : NULL;
}

static uint32_t get_u32(struct nlmsghdr *h, int type)
{
	struct nlattr *a = find(h, type, sizeof(uint32_t));

	return a ? nla_get_u32(a) : 0;
}

/* ------------------------------------------------------------------ host ends */

static int take_host_end(void *arg, struct nlmsghdr *h, struct lx_err *err)
{
	if (h->nlmsg_type == RTM_NEWLINK && nlmsg_valid_hdr(h, sizeof(struct ifinfomsg)))
		*(struct host_end *)arg = (struct host_end){ ((struct ifinfomsg *)nlmsg_data(h))->ifi_index,
							     get_u32(h, IFLA_LINK) };
	return 0;
}

/* One by one: a machine has many links. */
static int find_host_ends(struct links *l, struct lx_err *err)
{
	lx_autosock struct nl_sock *host = NULL;
	struct ifinfomsg any = { .ifi_family = AF_UNSPEC };
	int r = lx_netlink_open(-1, NETLINK_ROUTE, &host, err);

	for (size_t i = 0; r == 0 && i < l->n_nics; i++) {
		lx_automsg struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETLINK, NLM_F_REQUEST);
		struct lx_err why = LX_ERR_INIT;

		if (!msg || nlmsg_append(msg, &any, sizeof(any), NLMSG_ALIGNTO) < 0 ||
		    nla_put_string(msg, IFLA_IFNAME, l->nics[i]->host_name) < 0)
			return lx_err_oom(err);
		r = lx_netlink_query(host, msg, take_host_end, &l->ends[i], &why);
		if (r == -ENODEV || r == -EINVAL || r == -ERANGE)
			r = 0; /* there is none of that name: no link will be found to be this card's */
		else if (r < 0 && err)
			*err = why;
	}
	return r;
}

static const Lxmgr__V1__Nic *nic_of(const struct links *l, const Lxmgr__V1__GuestLink *link, uint32_t peer)
{
	for (size_t i = 0; i < l->n_nics; i++)
		if (l->ends[i].index != 0 && (uint32_t)l->ends[i].index == peer &&
		    l->ends[i].peer == link->index && lx_streq(link->kind, "veth"))
			return l->nics[i];
	return NULL;
}

/* ------------------------------------------------------------------ links inside */

static int set_name(char **field, struct nlattr *a)
{
	char name[ALTIFNAMSIZ];

	if (!a || nla_strlcpy(name, a, sizeof(name)) >= sizeof(name))
		return 0;
	return lx_pb_set(field, name);
}

static int take_altnames(Lxmgr__V1__GuestLink *link, struct nlmsghdr *h)
{
	struct nlattr *list = nlmsg_find_attr(h, sizeof(struct ifinfomsg), IFLA_PROP_LIST), *a;
	char name[ALTIFNAMSIZ];
	int left, r = 0;

	if (list)
		nla_for_each_nested(a, list, left)
		{
			if (r < 0 || nla_type(a) != IFLA_ALT_IFNAME)
				continue;
			nla_strlcpy(name, a, sizeof(name));
			r = lx_pb_strv_add(&link->n_altnames, &link->altnames, name);
		}
	return r;
}

static int describe(struct nlmsghdr *h, Lxmgr__V1__GuestLink *link)
{
	const struct ifinfomsg *m = nlmsg_data(h);
	struct nlattr *info = nlmsg_find_attr(h, sizeof(*m), IFLA_LINKINFO);
	struct nlattr *kind = info ? nla_find(nla_data(info), nla_len(info), IFLA_INFO_KIND) : NULL;
	struct nlattr *hwaddr = find(h, IFLA_ADDRESS, 1);
	int r;

	link->index = (uint32_t)m->ifi_index;
	link->mtu = get_u32(h, IFLA_MTU);
	link->tx_queue_len = get_u32(h, IFLA_TXQLEN);
	link->up = (m->ifi_flags & IFF_UP) != 0;
	r = set_name(&link->name, find(h, IFLA_IFNAME, 1));
	if (r == 0)
		r = m->ifi_type == ARPHRD_LOOPBACK ? lx_pb_set(&link->kind, "loopback")
						   : set_name(&link->kind, kind);
	if (r == 0)
		r = take_altnames(link, h);
	if (r == 0 && hwaddr) {
		link->hwaddr.data = malloc((size_t)nla_len(hwaddr));
		if (!link->hwaddr.data)
			return -ENOMEM;
		link->hwaddr.len = (size_t)nla_len(hwaddr);
		memcpy(link->hwaddr.data, nla_data(hwaddr), link->hwaddr.len);
	}
	return r;
}

static int take_link(void *arg, struct nlmsghdr *h, struct lx_err *err)
{
	struct links *l = arg;
	Lxmgr__V1__GuestLink *link;
	const Lxmgr__V1__Nic *nic;
	int r;

	if (h->nlmsg_type != RTM_NEWLINK || !nlmsg_valid_hdr(h, sizeof(struct ifinfomsg)))
		return 0;
	link = malloc(sizeof(*link));
	if (!link)
		return lx_err_oom(err);
	lxmgr__v1__guest_link__init(link);
	r = describe(h, link);
	nic = nic_of(l, link, get_u32(h, IFLA_LINK));
	if (r == 0 && nic)
		r = lx_pb_set(&link->host_name, nic->host_name);
	r = r < 0 ? lx_err_oom(err) : l->fn(l->arg, link, nic, err);
	lx_pb_free(link);
	return r;
}

int lx_net_links(struct nl_sock *inside, size_t n_nics, Lxmgr__V1__Nic *const *nics, lx_net_link_fn fn,
		 void *arg, struct lx_err *err)
{
	lx_autofree struct host_end *ends = calloc(n_nics + 1, sizeof(*ends));
	struct links l = { .ends = ends, .n_nics = n_nics, .nics = nics, .fn = fn, .arg = arg };
	struct ifinfomsg all = { .ifi_family = AF_UNSPEC };
	int r;

	if (!ends)
		return lx_err_oom(err);
	r = find_host_ends(&l, err);
	return r < 0 ? r : lx_netlink_dump(inside, RTM_GETLINK, &all, sizeof(all), take_link, &l, err);
}

bool lx_net_link_carried(const Lxmgr__V1__GuestLink *link, const Lxmgr__V1__Nic *nic)
{
	return nic || (lx_streq(link->kind, "loopback") && lx_streq(link->name, "lo"));
}
