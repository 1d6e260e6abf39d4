/* Looks through the main routing table. Cannot fail: what cannot be found out counts as not there. */
#include "agent/network/uplink.h"

#include <linux/rtnetlink.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>

#include "agent/network/nl.h"

struct search {
	int ifindex;
	uint32_t metric;
};

static void look_at_route(struct nl_object *object, void *arg)
{
	struct rtnl_route *route = (struct rtnl_route *)(void *)object;
	struct rtnl_nexthop *nh = rtnl_route_nexthop_n(route, 0);
	uint32_t metric = rtnl_route_get_priority(route);
	struct search *s = arg;

	if (rtnl_route_get_table(route) != RT_TABLE_MAIN || rtnl_route_get_type(route) != RTN_UNICAST ||
	    !nh || rtnl_route_nh_get_ifindex(nh) <= 0 ||
	    nl_addr_get_prefixlen(rtnl_route_get_dst(route)) != 0)
		return;
	if (s->ifindex == 0 || metric < s->metric)
		*s = (struct search){ .ifindex = rtnl_route_nh_get_ifindex(nh), .metric = metric };
}

static int find_default(struct nl_sock *sock, int family)
{
	struct search s = { 0 };
	struct nl_cache *cache;

	if (rtnl_route_alloc_cache(sock, family, 0, &cache) < 0)
		return 0;
	nl_cache_foreach(cache, look_at_route, &s);
	nl_cache_free(cache);
	return s.ifindex;
}

struct lx_uplink lx_uplink_find(struct nl_sock *sock)
{
	struct lx_uplink u = { .ifindex = find_default(sock, AF_INET), .mtu = LX_MTU_DEFAULT };
	struct rtnl_link *link;

	if (u.ifindex == 0)
		u.ifindex = find_default(sock, AF_INET6);
	if (u.ifindex > 0 && rtnl_link_get_kernel(sock, u.ifindex, NULL, &link) == 0) {
		u.mtu = rtnl_link_get_mtu(link);
		rtnl_link_put(link);
	}
	return u;
}
