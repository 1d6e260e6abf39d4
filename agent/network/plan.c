/*
 * From names to addresses: a lease says on which node its instance is, a peer says which
 * address that node has. A node that is no peer is this one.
 *
 * Ways to fail: memory; a peer whose address is a name (tunnels end at IP addresses).
 */
#include "agent/network/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/socket.h>

#include "lib/str.h"

/* Outer Ethernet (14), IP (20 or 40), UDP (8) and VXLAN (8) headers: RFC 7348, section 5. */
enum { OVERHEAD_V4 = 50, OVERHEAD_V6 = 70 };

unsigned lx_plan_overhead(const struct lx_subnet *self)
{
	return self->family == AF_INET6 ? OVERHEAD_V6 : OVERHEAD_V4;
}

/* ------------------------------------------------------------------ moves */

struct move {
	char node[LX_NAME_MAX + 1];
	char was[LX_NAME_MAX + 1];
	bool seen;
};

int lx_moves_note(struct lx_moves *m, const char *hwaddr, const char *node, const char *was,
		  struct lx_err *err)
{
	struct move *v = calloc(1, sizeof(*v));

	m->by_hwaddr.free_value = free;
	if (v) {
		snprintf(v->node, sizeof(v->node), "%s", node);
		snprintf(v->was, sizeof(v->was), "%s", was);
		if (lx_map_set(&m->by_hwaddr, hwaddr, v) == 0)
			return 0;
	}
	free(v);
	return lx_err_oom(err);
}

void lx_moves_release(struct lx_moves *m)
{
	lx_map_release(&m->by_hwaddr);
}

/* Where the card is: what was seen here, as long as the manager has not said anything new. */
static const char *node_of(struct lx_moves *moves, const char *hwaddr, const char *said)
{
	struct move *v = lx_map_get(&moves->by_hwaddr, hwaddr);

	if (!v)
		return said;
	if (!lx_streq(v->was, said)) {
		lx_map_del(&moves->by_hwaddr, hwaddr);
		return said;
	}
	v->seen = true;
	return v->node;
}

/* Cards that are leased no more. */
static void forget_unseen(struct lx_moves *moves)
{
	for (struct lx_map_entry *next, *e = lx_map_first(&moves->by_hwaddr); e; e = next) {
		struct move *v = lx_map_value(e);

		next = lx_map_next(e);
		if (!v->seen && v->was[0])
			lx_map_del(&moves->by_hwaddr, lx_map_key(e));
		else
			v->seen = false;
	}
}

/* ------------------------------------------------------------------ peers */

static int any_family(const char *text)
{
	return text && strchr(text, ':') ? AF_INET6 : AF_INET;
}

/* An IP address in canonical form, and the hardware address of the link's end that goes with it. */
static int tunnel_end(const char *text, struct lx_subnet *addr, uint8_t hwaddr[LX_HWADDR_BYTES],
		      struct lx_err *err)
{
	char canonical[LX_SUBNET_TEXT];
	int r = lx_subnet_parse_host("address", any_family(text), text, addr, err);

	if (r == 0)
		r = lx_subnet_check_host("address", addr, err); /* loopback is nobody's way to another */
	if (r == 0)
		lx_network_hwaddr(lx_subnet_format_host(addr, canonical), hwaddr);
	return r;
}

static void host_address(const struct lx_subnet *network, int family, const char *text, struct lx_subnet *out)
{
	struct lx_subnet s;

	/* One that is no address of the network is as good as none: the peer is reached by the
	 * tunnel alone. */
	if (network->family != 0 && !lx_str_empty(text) &&
	    lx_subnet_parse_host("host", family, text, &s, NULL) == 0 && lx_subnet_contains(network, &s))
		*out = s;
}

static int take_peer(struct lx_plan *plan, const struct lx_network_config *config,
		     const Lxmgr__V1__NetworkPeer *pb, struct lx_err *err)
{
	struct lx_peer *p = &plan->peers[plan->n_peers];
	int r = lx_name_check("node", pb->node, err);

	if (r == 0)
		r = tunnel_end(pb->address, &p->addr, p->hwaddr, err);
	if (r < 0) {
		lx_err_wrap(err, "node %.*s", LX_NAME_MAX, pb->node);
		lx_err_hint(
			err,
			"Tunnels between nodes need IP addresses: join it again with --advertise IP:PORT.");
		return r;
	}
	if (plan->self.family == 0)
		return lx_err_set(err, LX_FAILED_PRECONDITION,
				  "node %s: no tunnel without an address of this node's own", pb->node);
	if (lx_subnet_equal(&p->addr, &plan->self))
		return lx_err_set(err, LX_FAILED_PRECONDITION, "node %s has the same address as this one",
				  pb->node);
	if (p->addr.family != plan->self.family)
		return lx_err_set(
			err, LX_FAILED_PRECONDITION,
			"node %s has an IPv%d address and this one an IPv%d address: no tunnel can join them",
			pb->node, p->addr.family == AF_INET ? 4 : 6, plan->self.family == AF_INET ? 4 : 6);
	for (size_t i = 0; i < pb->n_hosts; i++) {
		if (!lx_streq(pb->hosts[i]->network, config->name))
			continue;
		host_address(&config->v4, AF_INET, pb->hosts[i]->ipv4, &p->host4);
		host_address(&config->v6, AF_INET6, pb->hosts[i]->ipv6, &p->host6);
	}
	if (lx_map_set(&plan->by_node, pb->node, p) < 0)
		return lx_err_oom(err);
	plan->n_peers++;
	return 0;
}

static void note(struct lx_err *bad, const struct lx_err *err)
{
	if (bad->code == LX_OK)
		*bad = *err;
}

static int take_peers(struct lx_plan *plan, const struct lx_network_config *config,
		      const Lxmgr__V1__ApplyNetworksRequest *req, struct lx_err *bad, struct lx_err *err)
{
	plan->peers = calloc(req->n_peers + 1, sizeof(*plan->peers));
	if (!plan->peers)
		return lx_err_oom(err);
	for (size_t i = 0; i < req->n_peers; i++) {
		struct lx_err one = LX_ERR_INIT;

		if (take_peer(plan, config, req->peers[i], &one) < 0) {
			plan->peers[plan->n_peers] = (struct lx_peer){ 0 };
			note(bad, &one);
		}
	}
	return 0;
}

/* ------------------------------------------------------------------ instances elsewhere */

static int take_remotes(struct lx_plan *plan, const struct lx_network_config *config,
			const Lxmgr__V1__NetworkSpec *spec, struct lx_moves *moves, struct lx_err *bad,
			struct lx_err *err)
{
	plan->remotes = calloc(spec->n_leases + 1, sizeof(*plan->remotes));
	if (!plan->remotes)
		return lx_err_oom(err);
	for (size_t i = 0; i < spec->n_leases; i++) {
		struct lx_remote *r = &plan->remotes[plan->n_remotes];
		struct lx_err one = LX_ERR_INIT;
		struct lx_lease lease;

		if (lx_lease_parse(config, spec->leases[i], &lease, &one) < 0) {
			note(bad, &one);
			continue;
		}
		r->at = lx_map_get(&plan->by_node, node_of(moves, lease.hwaddr, spec->leases[i]->node));
		if (!r->at)
			continue;
		lx_hwaddr_parse(lease.hwaddr, r->hwaddr);
		r->v4 = lease.v4;
		r->v6 = lease.v6;
		plan->n_remotes++;
	}
	forget_unseen(moves);
	return 0;
}

int lx_plan_make(struct lx_plan *plan, const struct lx_network_config *config,
		 const Lxmgr__V1__ApplyNetworksRequest *req, const Lxmgr__V1__NetworkSpec *spec,
		 struct lx_moves *moves, struct lx_err *bad, struct lx_err *err)
{
	struct lx_err self = LX_ERR_INIT;
	int r;

	*plan = (struct lx_plan){ 0 };
	if (req->n_peers > LX_PEERS_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				  "%zu nodes, more than the %d that can be joined", req->n_peers,
				  LX_PEERS_MAX);
	r = tunnel_end(req->self_address, &plan->self, plan->self_hwaddr, &self);
	if (r < 0)
		plan->self = (struct lx_subnet){ 0 };
	if (r < 0 && req->n_peers > 0) { /* alone it needs none */
		lx_err_wrap(&self, "this node");
		lx_err_hint(
			&self,
			"Tunnels between nodes need IP addresses: join it again with --advertise IP:PORT.");
		note(bad, &self);
	}
	r = take_peers(plan, config, req, bad, err);
	if (r == 0)
		r = take_remotes(plan, config, spec, moves, bad, err);
	if (r < 0)
		lx_plan_release(plan);
	return r;
}

void lx_plan_release(struct lx_plan *plan)
{
	lx_map_release(&plan->by_node);
	free(plan->peers);
	free(plan->remotes);
	*plan = (struct lx_plan){ 0 };
}
