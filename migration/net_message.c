/*
 * What the kernel tells of a route is nearly what it wants to be told; the differences are here:
 * states it computes itself (dead, tentative, permanent), ages, and the words it
 * refuses to hear. Routes that the kernel makes for addresses are carried as well, as not
 * every address has one; where it comes by itself the request is answered by EEXIST.
 */
#include "migration/net_message.h"

#include <errno.h>
#include <string.h>

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

/* Of an address's flags those that are its owner's wish. */
#define ADDRESS_WISHES                                                                                       \
	(IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN | IFA_F_NODAD)
#define FOREVER      0xffffffffu
#define TICKS_SECOND 100 /* USER_HZ, in which ages are told on every architecture */

static size_t head_size(int type)
{
	switch (type) {
	case RTM_NEWADDR:
		return sizeof(struct ifaddrmsg);
	case RTM_NEWROUTE:
		return sizeof(struct rtmsg);
	case RTM_NEWRULE:
		return sizeof(struct fib_rule_hdr);
	case RTM_NEWNEIGH:
		return sizeof(struct ndmsg);
	default:
		return 0;
	}
}

/* An attribute with at least `len` bytes, or NULL. */
static struct nlattr *find(struct nlmsghdr *h, int type, size_t len)
{
	struct nlattr *a = nlmsg_find_attr(h, (int)head_size(h->nlmsg_type), type);

	return a && nla_len(a) >= (int)len ? a : NULL;
}

/* ------------------------------------------------------------------ which */

static bool address_wanted(struct nlmsghdr *h)
{
	const struct ifaddrmsg *m = nlmsg_data(h);
	struct nlattr *flags = find(h, IFA_FLAGS, sizeof(uint32_t));

	/* Another on the link has it: it was never in use. */
	return !((flags ? nla_get_u32(flags) : m->ifa_flags) & IFA_F_DADFAILED);
}

static bool route_wanted(struct nlmsghdr *h)
{
	const struct rtmsg *m = nlmsg_data(h);
	struct nlattr *a = find(h, RTA_TABLE, sizeof(uint32_t));
	uint32_t table = a ? nla_get_u32(a) : m->rtm_table;

	if (m->rtm_family != AF_INET && m->rtm_family != AF_INET6)
		return false;
	if (m->rtm_flags & RTM_F_CLONED)
		return false;
	return table != RT_TABLE_LOCAL || m->rtm_protocol != RTPROT_KERNEL;
}

bool lx_net_message_wanted(struct nlmsghdr *h)
{
	size_t head = head_size(h->nlmsg_type);

	if (head == 0 || !nlmsg_valid_hdr(h, (int)head) || h->nlmsg_len > LX_NET_MESSAGE_MAX)
		return false;
	switch (h->nlmsg_type) {
	case RTM_NEWADDR:
		return address_wanted(h);
	case RTM_NEWROUTE:
		return route_wanted(h);
	case RTM_NEWNEIGH:
		return ((struct ndmsg *)nlmsg_data(h))->ndm_state & NUD_PERMANENT;
	default:
		return ((struct fib_rule_hdr *)nlmsg_data(h))->family == AF_INET ||
		       ((struct fib_rule_hdr *)nlmsg_data(h))->family == AF_INET6;
	}
}

bool lx_net_message_learned(struct nlmsghdr *h)
{
	if (h->nlmsg_type != RTM_NEWNEIGH || !nlmsg_valid_hdr(h, (int)sizeof(struct ndmsg)) ||
	    h->nlmsg_len > LX_NET_MESSAGE_MAX)
		return false;
	const struct ndmsg *m = nlmsg_data(h);

	return (m->ndm_family == AF_INET || m->ndm_family == AF_INET6) && !(m->ndm_flags & NTF_PROXY) &&
	       (m->ndm_state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)) && find(h, NDA_LLADDR, 1);
}

unsigned lx_net_message_rank(struct nlmsghdr *h)
{
	if (h->nlmsg_type == RTM_NEWROUTE)
		return find(h, RTA_GATEWAY, 0) || find(h, RTA_VIA, 0) || find(h, RTA_MULTIPATH, 0);
	return 0;
}

const char *lx_net_message_name(const struct nlmsghdr *h)
{
	bool six = ((const struct rtgenmsg *)nlmsg_data(h))->rtgen_family == AF_INET6;

	switch (h->nlmsg_type) {
	case RTM_NEWADDR:
		return six ? "IPv6 address" : "IPv4 address";
	case RTM_NEWROUTE:
		return six ? "IPv6 route" : "IPv4 route";
	case RTM_NEWRULE:
		return six ? "IPv6 rule" : "IPv4 rule";
	default:
		return "neighbour";
	}
}

/* ------------------------------------------------------------------ the request */

static int put_address(struct nl_msg *out, struct nlmsghdr *h)
{
	struct ifaddrmsg m = *(struct ifaddrmsg *)nlmsg_data(h);
	struct nlattr *a = find(h, IFA_FLAGS, sizeof(uint32_t));
	uint32_t flags = (a ? nla_get_u32(a) : m.ifa_flags) & ADDRESS_WISHES;
	int left;

	m.ifa_flags = (uint8_t)flags;
	if (nlmsg_append(out, &m, sizeof(m), NLMSG_ALIGNTO) < 0 || nla_put_u32(out, IFA_FLAGS, flags) < 0)
		return -ENOMEM;
	nlmsg_for_each_attr(a, h, sizeof(m), left)
	{
		struct ifa_cacheinfo life;

		if (nla_type(a) == IFA_FLAGS)
			continue;
		if (nla_type(a) != IFA_CACHEINFO || nla_len(a) < (int)sizeof(life)) {
			if (nla_put(out, nla_type(a), nla_len(a), nla_data(a)) < 0)
				return -ENOMEM;
			continue;
		}
		memcpy(&life, nla_data(a), sizeof(life));
		if (life.ifa_valid == 0)
			life.ifa_valid = 1; /* in its last second; 0 would be refused */
		if (nla_put(out, IFA_CACHEINFO, sizeof(life), &life) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Next hops: only "onlink" is a wish, the other flags are states. */
static int put_multipath(struct nl_msg *out, struct nlattr *a)
{
	struct nlattr *copy = nla_reserve(out, RTA_MULTIPATH, nla_len(a));

	if (!copy)
		return -ENOMEM;
	memcpy(nla_data(copy), nla_data(a), (size_t)nla_len(a));
	struct rtnexthop *hop = nla_data(copy);
	int left = nla_len(copy);

	while (RTNH_OK(hop, left)) {
		hop->rtnh_flags &= RTNH_F_ONLINK;
		left -= (int)RTNH_ALIGN(hop->rtnh_len);
		hop = RTNH_NEXT(hop);
	}
	return 0;
}

static int put_route(struct nl_msg *out, struct nlmsghdr *h)
{
	struct rtmsg m = *(struct rtmsg *)nlmsg_data(h);
	struct nlattr *a;
	int left, r = 0;

	m.rtm_flags &= RTNH_F_ONLINK;
	if (nlmsg_append(out, &m, sizeof(m), NLMSG_ALIGNTO) < 0)
		return -ENOMEM;
	nlmsg_for_each_attr(a, h, sizeof(m), left)
	{
		struct rta_cacheinfo age;

		switch (nla_type(a)) {
		case RTA_NH_ID: /* what it stands for is told beside it */
		case RTA_EXPIRES:
			break;
		case RTA_CACHEINFO:
			if (nla_len(a) < (int)sizeof(age) || m.rtm_family != AF_INET6)
				break;
			memcpy(&age, nla_data(a), sizeof(age));
			if (age.rta_expires > 0)
				r = nla_put_u32(out, RTA_EXPIRES,
						(uint32_t)age.rta_expires / TICKS_SECOND + 1);
			break;
		case RTA_MULTIPATH:
			r = put_multipath(out, a);
			break;
		default:
			r = nla_put(out, nla_type(a), nla_len(a), nla_data(a));
		}
		if (r < 0)
			return -ENOMEM;
	}
	return 0;
}

static int put_rule(struct nl_msg *out, struct nlmsghdr *h)
{
	struct fib_rule_hdr m = *(struct fib_rule_hdr *)nlmsg_data(h);
	struct nlattr *a;
	int left;

	m.flags &= FIB_RULE_INVERT; /* the others are states */
	if (nlmsg_append(out, &m, sizeof(m), NLMSG_ALIGNTO) < 0)
		return -ENOMEM;
	/* Priority 0 is told by saying nothing, which in a request means "any that is free". */
	if (!find(h, FRA_PRIORITY, sizeof(uint32_t)) && nla_put_u32(out, FRA_PRIORITY, 0) < 0)
		return -ENOMEM;
	nlmsg_for_each_attr(a, h, sizeof(m),
			    left) if (nla_put(out, nla_type(a), nla_len(a), nla_data(a)) < 0) return -ENOMEM;
	return 0;
}

static int put_neighbour(struct nl_msg *out, struct nlmsghdr *h)
{
	struct ndmsg m = *(struct ndmsg *)nlmsg_data(h);
	struct nlattr *a;
	int left;

	if (!(m.ndm_state & NUD_PERMANENT))
		m.ndm_state = NUD_STALE;
	if (nlmsg_append(out, &m, sizeof(m), NLMSG_ALIGNTO) < 0)
		return -ENOMEM;
	nlmsg_for_each_attr(a, h, sizeof(struct ndmsg), left)
	{
		if (nla_type(a) == NDA_CACHEINFO || nla_type(a) == NDA_PROBES)
			continue;
		if (nla_put(out, nla_type(a), nla_len(a), nla_data(a)) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int flags_of(int type)
{
	switch (type) {
	case RTM_NEWROUTE: /* several of one destination and metric stay several */
		return NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND;
	case RTM_NEWNEIGH:
		return NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE;
	default: /* what the kernel makes by itself (lo's addresses, three rules) stays as it is */
		return NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
	}
}

int lx_net_message_request(const ProtobufCBinaryData *data, int type, struct nl_msg **ret, struct lx_err *err)
{
	struct nlmsghdr *h = (struct nlmsghdr *)(void *)data->data;
	struct nl_msg *out;
	int r;

	if (data->len < sizeof(*h) || data->len > LX_NET_MESSAGE_MAX || h->nlmsg_len != data->len ||
	    h->nlmsg_type != type || !(lx_net_message_wanted(h) || lx_net_message_learned(h)))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a network message of the guest is malformed");
	/* Room for a little more than there was: flags, a lifetime. */
	out = nlmsg_alloc_size(data->len + 64);
	if (!out || !nlmsg_put(out, NL_AUTO_PORT, NL_AUTO_SEQ, type, 0, flags_of(type))) {
		nlmsg_free(out);
		return lx_err_oom(err);
	}
	switch (type) {
	case RTM_NEWADDR:
		r = put_address(out, h);
		break;
	case RTM_NEWROUTE:
		r = put_route(out, h);
		break;
	case RTM_NEWRULE:
		r = put_rule(out, h);
		break;
	default:
		r = put_neighbour(out, h);
	}
	if (r < 0) {
		nlmsg_free(out);
		return lx_err_oom(err);
	}
	*ret = out;
	return 0;
}
