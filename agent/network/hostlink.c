/*
 * Routes and neighbours through libnl.
 *
 * Routes are dumped and compared: those through our interface that are not wanted go, those
 * that are wanted and not there are set. Ways to fail: no permission; a route that the kernel
 * refuses because its interface is down.
 */
#include "agent/network/hostlink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/route.h>

#include "agent/network/fdb.h"
#include "agent/network/nl.h"
#include "agent/network/sysctl.h"
#include "lib/buf.h"
#include "lib/cleanup.h"

/* The kernel's own metric of an IPv6 subnet's route: ours takes its place. */
#define V6_SUBNET_METRIC 256

/* ------------------------------------------------------------------ one route */

struct hop {
	const struct lx_subnet *dst;
	const struct lx_subnet *via; /* NULL: on the link itself */
	const struct lx_subnet *src; /* family 0: the kernel's choice */
	int ifindex;
	bool kernels; /* takes the place of the kernel's own */
};

/* The address alone, whatever its prefix. NULL when out of memory. */
static struct nl_addr *address(const struct lx_subnet *s)
{
	return nl_addr_build(s->family, s->addr, lx_subnet_bytes(s->family));
}

/* NULL when out of memory. */
static struct rtnl_route *make_route(const struct hop *h)
{
	struct rtnl_route *route = rtnl_route_alloc();
	struct rtnl_nexthop *nh = rtnl_route_nh_alloc();
	struct nl_addr *dst = address(h->dst), *via = h->via ? address(h->via) : NULL;
	struct nl_addr *src = h->src->family ? address(h->src) : NULL;
	bool ok = route && nh && dst && (via || !h->via) && (src || !h->src->family);

	if (ok) {
		nl_addr_set_prefixlen(dst, (int)h->dst->prefix);
		rtnl_route_set_family(route, (uint8_t)h->dst->family);
		rtnl_route_set_table(route, RT_TABLE_MAIN);
		rtnl_route_set_type(route, RTN_UNICAST);
		rtnl_route_set_protocol(route, h->kernels ? RTPROT_KERNEL : RTPROT_STATIC);
		rtnl_route_set_scope(route, h->via || h->dst->family == AF_INET6 ? RT_SCOPE_UNIVERSE
										 : RT_SCOPE_LINK);
		if (h->dst->family == AF_INET6)
			rtnl_route_set_priority(route, V6_SUBNET_METRIC);
		rtnl_route_nh_set_ifindex(nh, h->ifindex);
		if (via) {
			rtnl_route_nh_set_gateway(nh, via);
			/* The interface has no subnet in which the other end could be looked for. */
			rtnl_route_set_flags(route, RTNH_F_ONLINK);
		}
		ok = rtnl_route_set_dst(route, dst) == 0 &&
		     (!src || rtnl_route_set_pref_src(route, src) == 0);
	}
	if (ok)
		rtnl_route_add_nexthop(route, nh);
	else
		rtnl_route_nh_free(nh);
	nl_addr_put(src);
	nl_addr_put(via);
	nl_addr_put(dst);
	if (ok)
		return route;
	rtnl_route_put(route);
	return NULL;
}

static int set_route(struct nl_sock *sock, const struct hop *h, struct lx_err *err)
{
	struct rtnl_route *route = make_route(h);
	char text[LX_SUBNET_TEXT];

	if (!route)
		return lx_err_oom(err);
	int nle = rtnl_route_add(sock, route, NLM_F_CREATE | NLM_F_REPLACE);

	rtnl_route_put(route);
	return nle < 0 ? lx_nl_err(err, nle, "cannot set the route to %s", lx_subnet_format(h->dst, text))
		       : 0;
}

static int drop_route(struct nl_sock *sock, struct rtnl_route *route, struct lx_err *err)
{
	int nle = rtnl_route_delete(sock, route, 0);

	/* ESRCH: it went by itself, with its interface or its source address. */
	if (nle < 0 && !lx_nl_is_absent(nle))
		return lx_nl_err(err, nle, "cannot remove a route between the nodes");
	return 0;
}

/* ------------------------------------------------------------------ what is there */

struct route_key {
	struct lx_subnet dst, via, src;
};

static void read_route(struct rtnl_route *route, struct route_key *out)
{
	struct rtnl_nexthop *nh = rtnl_route_nexthop_n(route, 0);

	*out = (struct route_key){ 0 };
	lx_nl_subnet(rtnl_route_get_dst(route), &out->dst);
	lx_nl_subnet(rtnl_route_get_pref_src(route), &out->src);
	if (nh)
		lx_nl_subnet(rtnl_route_nh_get_gateway(nh), &out->via);
}

static bool is_through(struct rtnl_route *route, int ifindex)
{
	struct rtnl_nexthop *nh = rtnl_route_nexthop_n(route, 0);

	return rtnl_route_get_table(route) == RT_TABLE_MAIN && rtnl_route_get_type(route) == RTN_UNICAST &&
	       nh && rtnl_route_nh_get_ifindex(nh) == ifindex;
}

/* Keys of a map: what a route goes to. */
static char *dst_key(const struct lx_subnet *dst, char out[LX_SUBNET_TEXT])
{
	return lx_subnet_format(dst, out);
}

struct compare {
	struct nl_sock *sock;
	int ifindex;
	struct lx_map *want; /* destination -> struct hop *; those that are there are taken out */
	struct lx_err *err;
	int r;
};

static void compare_route(struct nl_object *object, void *arg)
{
	struct rtnl_route *route = (struct rtnl_route *)(void *)object;
	struct compare *c = arg;
	char text[LX_SUBNET_TEXT];
	struct route_key has;

	if (c->r < 0 || !is_through(route, c->ifindex))
		return;
	read_route(route, &has);
	if (has.dst.family == AF_INET6 && (has.dst.addr[0] == 0xff || has.dst.addr[0] == 0xfe))
		return; /* the kernel's own: multicast and link-local */
	const struct hop *h = lx_map_get(c->want, dst_key(&has.dst, text));

	if (!h) {
		c->r = drop_route(c->sock, route, c->err);
		return;
	}
	if (memcmp(has.src.addr, h->src->addr, sizeof(has.src.addr)) == 0 &&
	    (h->via ? memcmp(has.via.addr, h->via->addr, sizeof(has.via.addr)) == 0 : has.via.family == 0))
		lx_map_del(c->want, text);
}

static int sync_routes(struct nl_sock *sock, int ifindex, struct lx_map *want, struct lx_err *err)
{
	struct compare c = { sock, ifindex, want, err, 0 };
	struct nl_cache *cache;
	int nle = rtnl_route_alloc_cache(sock, AF_UNSPEC, 0, &cache);

	if (nle < 0)
		return lx_nl_err(err, nle, "cannot list the machine's routes");
	nl_cache_foreach(cache, compare_route, &c);
	nl_cache_free(cache);
	for (struct lx_map_entry *e = lx_map_first(want); e && c.r == 0; e = lx_map_next(e))
		c.r = set_route(sock, lx_map_value(e), err);
	return c.r;
}

/* ------------------------------------------------------------------ what is wanted */

static int want_hop(struct lx_map *want, struct hop hop, struct lx_err *err)
{
	char text[LX_SUBNET_TEXT];
	struct hop *h = malloc(sizeof(*h));

	if (!h || lx_map_set(want, dst_key(hop.dst, text), h) < 0) {
		free(h);
		return lx_err_oom(err);
	}
	*h = hop;
	return 0;
}

static int want_routes(struct lx_map *want, const struct lx_network_config *config,
		       const struct lx_plan *plan, int ifindex, struct lx_err *err)
{
	int r = 0;

	for (size_t i = 0; i < plan->n_peers && r == 0; i++) {
		const struct lx_peer *p = &plan->peers[i];

		if (p->host4.family != 0)
			r = want_hop(want, (struct hop){ &p->host4, NULL, &config->host4, ifindex, false },
				     err);
		if (r == 0 && p->host6.family != 0)
			r = want_hop(want, (struct hop){ &p->host6, NULL, &config->host6, ifindex, false },
				     err);
	}
	for (size_t i = 0; i < plan->n_remotes && r == 0; i++) {
		const struct lx_remote *o = &plan->remotes[i];

		if (o->v4.family != 0 && o->at->host4.family != 0)
			r = want_hop(want,
				     (struct hop){ &o->v4, &o->at->host4, &config->host4, ifindex, false },
				     err);
		if (r == 0 && o->v6.family != 0 && o->at->host6.family != 0)
			r = want_hop(want,
				     (struct hop){ &o->v6, &o->at->host6, &config->host6, ifindex, false },
				     err);
	}
	return r;
}

/* ------------------------------------------------------------------ neighbours */

/*
 * One that is behind the interface, for good or as if it had been heard of, or one that the interface
 * answers for (and hwaddr is NULL).
 */
enum neigh_kind { NEIGHBOUR, HEARD_OF, ANSWER_FOR };

static int change_neigh(struct nl_sock *sock, int ifindex, const struct lx_subnet *who, const uint8_t *hwaddr,
			enum neigh_kind kind, bool on)
{
	struct rtnl_neigh *neigh = rtnl_neigh_alloc();
	struct nl_addr *dst = nl_addr_build(who->family, who->addr, lx_subnet_bytes(who->family));
	struct nl_addr *ll = hwaddr ? nl_addr_build(AF_LLC, hwaddr, LX_HWADDR_BYTES) : NULL;
	int nle = neigh && dst && (ll || !hwaddr) ? 0 : -NLE_NOMEM;

	if (nle == 0) {
		rtnl_neigh_set_ifindex(neigh, ifindex);
		rtnl_neigh_set_state(neigh, kind == HEARD_OF ? NUD_STALE : NUD_PERMANENT);
		if (ll)
			rtnl_neigh_set_lladdr(neigh, ll);
		if (kind == ANSWER_FOR)
			rtnl_neigh_set_flags(neigh, NTF_PROXY);
		nle = rtnl_neigh_set_dst(neigh, dst);
	}
	if (nle == 0)
		nle = on ? rtnl_neigh_add(sock, neigh, NLM_F_CREATE | NLM_F_REPLACE)
			 : rtnl_neigh_delete(sock, neigh, 0);
	nl_addr_put(ll);
	nl_addr_put(dst);
	rtnl_neigh_put(neigh);
	return nle;
}

struct stale {
	const struct lx_plan *plan;
	int ifindex;
	struct lx_buf found; /* struct lx_subnet, one after another */
};

static bool is_peer_host(const struct lx_plan *plan, const struct lx_subnet *who)
{
	for (size_t i = 0; i < plan->n_peers; i++)
		if (lx_subnet_equal(&plan->peers[i].host4, who) ||
		    lx_subnet_equal(&plan->peers[i].host6, who))
			return true;
	return false;
}

static int find_stale(struct nl_msg *msg, void *arg)
{
	struct rtnl_neigh *neigh = NULL;
	struct stale *s = arg;
	struct lx_subnet who;

	if (rtnl_neigh_parse(nlmsg_hdr(msg), &neigh) < 0)
		return NL_OK;
	if (rtnl_neigh_get_ifindex(neigh) == s->ifindex && lx_nl_subnet(rtnl_neigh_get_dst(neigh), &who) &&
	    ((rtnl_neigh_get_flags(neigh) & NTF_PROXY) || rtnl_neigh_get_state(neigh) == NUD_PERMANENT) &&
	    !is_peer_host(s->plan, &who))
		lx_buf_append(&s->found, &who, sizeof(who));
	rtnl_neigh_put(neigh);
	return NL_OK;
}

/* Entries of machines that are no peers any more. They hurt nobody: what cannot be removed stays. */
static void drop_stale_neighs(struct nl_sock *sock, const struct lx_plan *plan, int ifindex, bool proxies)
{
	/* libnl's own list of neighbours leaves out those that are answered for. */
	struct ndmsg head = { .ndm_family = AF_UNSPEC, .ndm_flags = proxies ? NTF_PROXY : 0 };
	struct stale s = { .plan = plan, .ifindex = ifindex };
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);

	if (cb && nl_send_simple(sock, RTM_GETNEIGH, NLM_F_DUMP, &head, sizeof(head)) >= 0) {
		nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, find_stale, &s);
		nl_recvmsgs(sock, cb);
	}
	nl_cb_put(cb);
	for (size_t i = 0; i + sizeof(struct lx_subnet) <= s.found.len; i += sizeof(struct lx_subnet)) {
		struct lx_subnet who;

		memcpy(&who, s.found.data + i, sizeof(who));
		change_neigh(sock, ifindex, &who, NULL, proxies ? ANSWER_FOR : NEIGHBOUR, false);
	}
	lx_buf_release(&s.found);
}

static int sync_neighs(struct nl_sock *sock, const struct lx_plan *plan, int bridge, int ifindex,
		       struct lx_err *err)
{
	for (size_t i = 0; i < plan->n_peers; i++) {
		const struct lx_peer *p = &plan->peers[i];
		const struct lx_subnet *hosts[] = { &p->host4, &p->host6 };

		for (size_t k = 0; k < LX_ARRAY_SIZE(hosts); k++) {
			char text[LX_SUBNET_TEXT];
			int nle = 0;

			if (hosts[k]->family == 0)
				continue;
			nle = change_neigh(sock, ifindex, hosts[k], p->hwaddr, NEIGHBOUR, true);
			if (nle >= 0)
				nle = change_neigh(sock, bridge, hosts[k], NULL, ANSWER_FOR, true);
			if (nle < 0)
				return lx_nl_err(err, nle, "cannot make %s a neighbour",
						 lx_subnet_format_host(hosts[k], text));
		}
	}
	drop_stale_neighs(sock, plan, ifindex, false);
	drop_stale_neighs(sock, plan, bridge, true);
	return 0;
}

void lx_hostlink_meet(struct nl_sock *sock, const struct lx_network_config *config,
		      const struct lx_remote *card)
{
	const struct lx_subnet *const addresses[] = { &card->v4, &card->v6 };
	int bridge = (int)if_nametoindex(config->name);

	for (size_t i = 0; i < LX_ARRAY_SIZE(addresses); i++)
		if (addresses[i]->family != 0)
			(void)change_neigh(sock, bridge, addresses[i], card->hwaddr, HEARD_OF, true);
}

static int sync_directions(struct nl_sock *sock, const struct lx_plan *plan, int ifindex, struct lx_err *err)
{
	lx_autofree struct lx_fdb_entry *want = calloc(plan->n_peers + 1, sizeof(*want));

	if (!want)
		return lx_err_oom(err);
	for (size_t i = 0; i < plan->n_peers; i++) {
		memcpy(want[i].hwaddr, plan->peers[i].hwaddr, LX_HWADDR_BYTES);
		want[i].dst = plan->peers[i].addr;
	}
	return lx_fdb_sync(sock, ifindex, want, plan->n_peers, err);
}

/* ------------------------------------------------------------------ what the header promises */

int lx_hostlink_sync(struct nl_sock *sock, const struct lx_network_config *config, const struct lx_plan *plan,
		     int ifindex, struct lx_err *err)
{
	int bridge = (int)if_nametoindex(config->name);
	struct lx_map want;
	int r = lx_sysctl_answer_for(config->name, config->v4.family != 0, config->v6.family != 0, err);

	if (r == 0)
		r = sync_directions(sock, plan, ifindex, err);
	if (r == 0)
		r = sync_neighs(sock, plan, bridge, ifindex, err);
	if (r < 0)
		return r;
	lx_map_init(&want, free);
	r = want_routes(&want, config, plan, ifindex, err);
	if (r == 0)
		r = sync_routes(sock, ifindex, &want, err);
	lx_map_release(&want);
	return r;
}

void lx_hostlink_forget(struct nl_sock *sock, const struct lx_network_config *config,
			const struct lx_plan *plan)
{
	drop_stale_neighs(sock, plan, (int)if_nametoindex(config->name), true);
}

static int route_one(struct nl_sock *sock, const struct lx_subnet *dst, const struct lx_subnet *via,
		     const struct lx_subnet *src, int ifindex, struct lx_err *err)
{
	struct hop h = { dst, via, src, ifindex, false };

	if (dst->family == 0)
		return 0;
	if (via && via->family != 0)
		return set_route(sock, &h, err);
	h.via = NULL;
	struct rtnl_route *route = make_route(&h);

	if (!route)
		return lx_err_oom(err);
	/* Whatever it goes through, as long as it is ours. */
	rtnl_route_set_scope(route, RT_SCOPE_NOWHERE);
	int r = drop_route(sock, route, err);

	rtnl_route_put(route);
	return r;
}

int lx_hostlink_route(struct nl_sock *sock, const struct lx_network_config *config,
		      const struct lx_remote *remote, int ifindex, struct lx_err *err)
{
	static const struct lx_subnet none;
	const struct lx_peer *at = remote->at;
	int r = route_one(sock, &remote->v4, at ? &at->host4 : NULL, at ? &config->host4 : &none, ifindex,
			  err);

	if (r == 0)
		r = route_one(sock, &remote->v6, at ? &at->host6 : NULL, at ? &config->host6 : &none, ifindex,
			      err);
	return r;
}

struct prefer {
	int ifindex;
	struct lx_subnet net4, net6;
	struct lx_subnet src4, src6; /* of the routes that are there */
};

static void look_at_route(struct nl_object *object, void *arg)
{
	struct rtnl_route *route = (struct rtnl_route *)(void *)object;
	struct prefer *p = arg;
	struct route_key has;

	if (!is_through(route, p->ifindex))
		return;
	read_route(route, &has);
	if (lx_subnet_equal(&has.dst, &p->net4))
		p->src4 = has.src;
	else if (lx_subnet_equal(&has.dst, &p->net6))
		p->src6 = has.src;
}

int lx_hostlink_prefer(struct nl_sock *sock, const struct lx_network_config *config, struct lx_err *err)
{
	struct prefer p = { .ifindex = (int)if_nametoindex(config->name),
			    .net4 = lx_subnet_network(&config->v4),
			    .net6 = lx_subnet_network(&config->v6) };
	/* The kernel's own choice is the gateway's address; for IPv6 it names none. */
	const struct lx_subnet *src4 = config->host4.family ? &config->host4 : &config->v4;
	struct nl_cache *cache;
	int r = 0;

	int nle = rtnl_route_alloc_cache(sock, AF_UNSPEC, 0, &cache);

	if (nle < 0)
		return lx_nl_err(err, nle, "cannot list the machine's routes");
	nl_cache_foreach(cache, look_at_route, &p);
	nl_cache_free(cache);
	if (config->v4.family != 0 && memcmp(p.src4.addr, src4->addr, sizeof(p.src4.addr)) != 0)
		r = set_route(sock, &(struct hop){ &p.net4, NULL, src4, p.ifindex, true }, err);
	if (r == 0 && config->host6.family != 0 &&
	    memcmp(p.src6.addr, config->host6.addr, sizeof(p.src6.addr)) != 0)
		r = set_route(sock, &(struct hop){ &p.net6, NULL, &config->host6, p.ifindex, true }, err);
	return r;
}
