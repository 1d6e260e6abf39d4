/*
 * A bridge whose subnet is also reached another way would cut the machine off from that
 * subnet, or its guests from their neighbours: such a network is refused before anything is
 * made. Collecting can fail (netlink, memory), checking only by refusing.
 */
#include "agent/network/conflicts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <linux/rtnetlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/route.h>

#include "agent/network/nl.h"
#include "agent/network/tunnel.h"
#include "lib/str.h"

void lx_taken_release(struct lx_taken *t)
{
	free(t->subnets);
	free(t->by);
	*t = (struct lx_taken){ 0 };
}

static int add(struct lx_taken *t, const struct lx_subnet *s, int how, const char *name)
{
	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 32;
		struct lx_subnet *subnets = reallocarray(t->subnets, cap, sizeof(*subnets));

		if (!subnets)
			return -ENOMEM;
		t->subnets = subnets;
		struct lx_taken_by *by = reallocarray(t->by, cap, sizeof(*by));

		if (!by)
			return -ENOMEM;
		t->by = by;
		t->cap = cap;
	}
	t->subnets[t->n] = *s;
	t->by[t->n].how = how;
	snprintf(t->by[t->n].name, sizeof(t->by[t->n].name), "%s", name);
	t->n++;
	return 0;
}

/* ------------------------------------------------------------------ collecting */

struct collect {
	struct lx_taken *taken;
	const char *const *own;
	size_t n_own;
	int r;
};

/* Adds one, unless it is of no interest: everything's default, link-local, multicast, ours. */
static void collect_one(struct collect *c, const struct lx_subnet *s, int how, int ifindex)
{
	bool link_local = s->family == AF_INET6 && s->addr[0] == 0xfe && (s->addr[1] & 0xc0) == 0x80;
	bool multicast = s->family == AF_INET6 && s->addr[0] == 0xff;
	char name[IFNAMSIZ] = "";

	if (c->r < 0 || s->prefix == 0 || link_local || multicast)
		return;
	if (ifindex > 0 && !if_indextoname((unsigned)ifindex, name))
		return; /* gone meanwhile */
	if (lx_tunnel_is_hosts_name(name))
		return; /* what goes to other nodes' instances is within our subnets */
	for (size_t i = 0; i < c->n_own; i++)
		if (lx_streq(c->own[i], name))
			return;
	c->r = add(c->taken, s, how, name);
}

static void collect_route(struct nl_object *object, void *arg)
{
	struct rtnl_route *route = (struct rtnl_route *)(void *)object;
	struct rtnl_nexthop *nh = rtnl_route_nexthop_n(route, 0);
	struct lx_subnet s;

	if (rtnl_route_get_table(route) == RT_TABLE_MAIN && lx_nl_subnet(rtnl_route_get_dst(route), &s))
		collect_one(arg, &s, LX_TAKEN_ROUTE, nh ? rtnl_route_nh_get_ifindex(nh) : 0);
}

static void collect_address(struct nl_object *object, void *arg)
{
	struct rtnl_addr *addr = (struct rtnl_addr *)(void *)object;
	struct lx_subnet s;

	if (lx_nl_subnet(rtnl_addr_get_local(addr), &s))
		collect_one(arg, &s, LX_TAKEN_ADDRESS, rtnl_addr_get_ifindex(addr));
}

int lx_taken_collect(struct lx_taken *t, struct nl_sock *sock, const char *const *own, size_t n_own,
		     struct lx_err *err)
{
	struct collect c = { .taken = t, .own = own, .n_own = n_own };
	struct nl_cache *cache;
	int nle = rtnl_addr_alloc_cache(sock, &cache);

	if (nle < 0)
		return lx_nl_err(err, nle, "cannot list the machine's addresses");
	nl_cache_foreach(cache, collect_address, &c);
	nl_cache_free(cache);
	nle = rtnl_route_alloc_cache(sock, AF_UNSPEC, 0, &cache);
	if (nle < 0)
		return lx_nl_err(err, nle, "cannot list the machine's routes");
	nl_cache_foreach(cache, collect_route, &c);
	nl_cache_free(cache);
	return c.r < 0 ? lx_err_oom(err) : 0;
}

int lx_taken_add_network(struct lx_taken *t, const struct lx_network_config *config, struct lx_err *err)
{
	if ((config->v4.family != 0 && add(t, &config->v4, LX_TAKEN_NETWORK, config->name) < 0) ||
	    (config->v6.family != 0 && add(t, &config->v6, LX_TAKEN_NETWORK, config->name) < 0))
		return lx_err_oom(err);
	return 0;
}

/* ------------------------------------------------------------------ checking */

static void describe(const struct lx_taken *t, size_t i, char *buf, size_t n)
{
	const struct lx_subnet *s = &t->subnets[i];
	const char *name = t->by[i].name;
	char text[LX_SUBNET_TEXT];

	switch (t->by[i].how) {
	case LX_TAKEN_ROUTE:
		snprintf(buf, n, "the machine's route to %s%s%s", lx_subnet_format_network(s, text),
			 *name ? " through " : "", name);
		break;
	case LX_TAKEN_ADDRESS:
		snprintf(buf, n, "address %s of interface %s", lx_subnet_format(s, text), name);
		break;
	case LX_TAKEN_NETWORK:
		snprintf(buf, n, "%s of network %s", lx_subnet_format_network(s, text), name);
		break;
	}
}

static int check(const struct lx_taken *t, const char *network, const char *key, const struct lx_subnet *s,
		 struct lx_err *err)
{
	for (size_t i = 0; i < t->n; i++) {
		char mine[LX_SUBNET_TEXT], other[160];
		struct lx_subnet free_one;

		if (!lx_subnet_overlaps(s, &t->subnets[i]))
			continue;
		describe(t, i, other, sizeof(other));
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s %s overlaps with %s", key,
				   lx_subnet_format(s, mine), other);

		if (lx_subnet_suggest(s->family, s->prefix, t->subnets, t->n, &free_one))
			lx_err_hint(err, "Choose a subnet that is free: lxmgr network set %s %s=%s", network,
				    key, lx_subnet_format(&free_one, mine));
		else
			lx_err_hint(err, "Choose a smaller subnet with: lxmgr network set %s %s=...", network,
				    key);
		return r;
	}
	return 0;
}

int lx_taken_check(const struct lx_taken *t, const struct lx_network_config *config, struct lx_err *err)
{
	int r = 0;

	if (config->v4.family != 0)
		r = check(t, config->name, "ipv4.address", &config->v4, err);
	if (r == 0 && config->v6.family != 0)
		r = check(t, config->name, "ipv6.address", &config->v6, err);
	return r;
}
