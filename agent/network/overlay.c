/*
 * Carries out a network's plan (plan.h), and its small change when one instance moves
 * (network.h: lx_network_here, lx_network_away).
 *
 * Happy path: interfaces as wanted, then all directions and routes compared with what the
 * kernel has, differences set. A move is a few messages for that one card, then the
 * announcement; the manager's leases follow and find nothing left to do.
 *
 * Ways to fail: those of the parts; a peer that has no IP address is left out and named.
 */
#include "agent/network/overlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sys/socket.h>

#include "agent/network/announce.h"
#include "agent/network/fdb.h"
#include "agent/network/hostlink.h"
#include "agent/network/tunnel.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"

uint32_t lx_overlay_mtu(const struct lx_network_ctx *ctx, const struct lx_network_config *config,
			uint32_t uplink_mtu)
{
	const char *text = ctx->wanted->self_address;
	struct lx_subnet self = { 0 };
	uint32_t underlay;

	if (config->vxlan_id == 0)
		return uplink_mtu;
	lx_subnet_parse_host("self", strchr(text, ':') ? AF_INET6 : AF_INET, text, &self, NULL);
	underlay = lx_tunnel_underlay_mtu(ctx->nl, &self);
	if (underlay > 0 && underlay < uplink_mtu)
		uplink_mtu = underlay;
	/* Also as long as it is alone: what runs now must fit when the second machine joins. */
	return uplink_mtu > lx_plan_overhead(&self) ? uplink_mtu - lx_plan_overhead(&self) : uplink_mtu;
}

/* ------------------------------------------------------------------ the whole */

/*
 * For each peer the way of broadcasts, for each card elsewhere one entry in both tables. The
 * bridge's has one entry an address: that of a card whose host end is here, though the manager
 * may not know yet that its guest has come, is its port's (port.h) and would be lost with ours.
 */
static int sync_directions(struct lx_network *n, const struct lx_plan *plan, struct lx_err *err)
{
	lx_autofree struct lx_fdb_entry *want =
		calloc(plan->n_peers + 2 * plan->n_remotes + 1, sizeof(*want));
	size_t k = 0;

	if (!want)
		return lx_err_oom(err);
	for (size_t i = 0; i < plan->n_peers; i++)
		want[k++].dst = plan->peers[i].addr;
	for (size_t i = 0; i < plan->n_remotes; i++) {
		memcpy(want[k].hwaddr, plan->remotes[i].hwaddr, LX_HWADDR_BYTES);
		want[k++].dst = plan->remotes[i].at->addr;
		if (!lx_guard_is_plugged(n->ctx, plan->remotes[i].hwaddr))
			memcpy(want[k++].hwaddr, plan->remotes[i].hwaddr, LX_HWADDR_BYTES);
	}
	return lx_fdb_sync(n->ctx->nl, n->tunnel.guests, want, k, err);
}

static int join(struct lx_network *n, const struct lx_plan *plan, uint32_t mtu, struct lx_err *err)
{
	struct nl_sock *sock = n->ctx->nl;
	int r = lx_tunnel_sync(sock, &n->config, plan, mtu, &n->tunnel, err);

	if (r == 0)
		r = sync_directions(n, plan, err);
	if (r == 0)
		r = lx_hostlink_sync(sock, &n->config, plan, n->tunnel.hosts, err);
	return r;
}

int lx_overlay_sync(struct lx_network *n, uint32_t mtu, struct lx_err *bad, struct lx_err *err)
{
	const struct lx_network_config *c = &n->config;
	struct lx_plan plan = { 0 };
	int r = 0;

	if (c->vxlan_id != 0) {
		r = lx_hostlink_prefer(n->ctx->nl, c, err);
		if (r == 0)
			r = lx_plan_make(&plan, c, n->ctx->wanted, n->spec, &n->moves, bad, err);
		if (r < 0)
			return r;
	}
	/* A tunnel of another number is not the one that is wanted. */
	if (plan.self.family == 0 || plan.n_peers == 0 || n->tunnel_id != c->vxlan_id) {
		n->tunnel = (struct lx_tunnel){ 0 };
		r = lx_tunnel_delete_others(n->ctx->nl, n->name, plan.n_peers > 0 ? c->vxlan_id : 0, err);
		lx_hostlink_forget(n->ctx->nl, c, &plan);
	}
	if (r == 0 && plan.self.family != 0 && plan.n_peers > 0) {
		r = join(n, &plan, mtu, err);
		n->tunnel_id = c->vxlan_id;
	} else if (r == 0) {
		n->tunnel_id = 0;
	}
	lx_plan_release(&plan);
	return r;
}

/* ------------------------------------------------------------------ one card */

static const char *said_of(const struct lx_network *n, const char *hwaddr)
{
	for (size_t i = 0; n->spec && i < n->spec->n_leases; i++)
		if (strcasecmp(n->spec->leases[i]->hwaddr, hwaddr) == 0)
			return n->spec->leases[i]->node;
	return "";
}

/* What is said of a card, as one that is elsewhere (`at` not known yet). */
static int parse_card(const char *hwaddr, const char *ipv4, const char *ipv6, struct lx_remote *out,
		      char canonical[LX_HWADDR_TEXT], struct lx_err *err)
{
	int r = 0;

	*out = (struct lx_remote){ 0 };
	if (!lx_hwaddr_parse(hwaddr, out->hwaddr))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "\"%s\" is no hardware address", hwaddr);
	lx_hwaddr_format(out->hwaddr, canonical);
	if (!lx_str_empty(ipv4))
		r = lx_subnet_parse_host("ipv4", AF_INET, ipv4, &out->v4, err);
	if (r == 0 && !lx_str_empty(ipv6))
		r = lx_subnet_parse_host("ipv6", AF_INET6, ipv6, &out->v6, err);
	return r;
}

static struct lx_network *find(struct lx_network_ctx *ctx, const char *network, struct lx_err *err)
{
	struct lx_network *n = lx_network_find(ctx, network);

	if (!n || !n->active || !n->spec) {
		lx_err_set(err, LX_NOT_FOUND, "this node has no network %s", network);
		return NULL;
	}
	return n;
}

static int say_where(struct lx_network *n, const struct lx_remote *card, struct lx_err *err)
{
	int r = 0;

	if (n->ctx->announce_fd < 0)
		r = lx_announce_open(&n->ctx->announce_fd, err);
	return r < 0 ? r
		     : lx_announce(n->ctx->announce_fd, n->tunnel.guests, card->hwaddr, &card->v4, &card->v6,
				   err);
}

int lx_network_here(struct lx_network_ctx *ctx, const char *network, const char *hwaddr, const char *ipv4,
		    const char *ipv6, struct lx_err *err)
{
	struct lx_network *n = find(ctx, network, err);
	char mac[LX_HWADDR_TEXT];
	struct lx_remote card;
	int r;

	if (!n)
		return err ? lx_code_errno(err->code) : -ENOENT;
	r = parse_card(hwaddr, ipv4, ipv6, &card, mac, err);
	if (r == 0)
		r = lx_moves_note(&n->moves, mac, "", said_of(n, mac), err);
	if (r < 0 || n->tunnel_id == 0)
		return r;
	r = lx_fdb_forget(ctx->nl, n->tunnel.guests, card.hwaddr, err);
	if (r == 0)
		r = lx_hostlink_route(ctx->nl, &n->config, &card, n->tunnel.hosts, err);
	lx_hostlink_meet(ctx->nl, &n->config, &card);
	return r < 0 ? r : say_where(n, &card, err);
}

static int direct(struct lx_network *n, const struct lx_remote *card, struct lx_err *err)
{
	struct lx_fdb_entry e = { .dst = card->at->addr };
	int r;

	memcpy(e.hwaddr, card->hwaddr, sizeof(e.hwaddr));
	r = lx_fdb_set(n->ctx->nl, n->tunnel.guests, &e, err);
	e.dst = (struct lx_subnet){ 0 };
	if (r == 0)
		r = lx_fdb_set(n->ctx->nl, n->tunnel.guests, &e, err);
	return r < 0 ? r : lx_hostlink_route(n->ctx->nl, &n->config, card, n->tunnel.hosts, err);
}

int lx_network_away(struct lx_network_ctx *ctx, const char *network, const char *hwaddr, const char *ipv4,
		    const char *ipv6, const char *node, struct lx_err *err)
{
	struct lx_network *n = find(ctx, network, err);
	struct lx_err bad = LX_ERR_INIT;
	struct lx_moves none = { 0 };
	struct lx_plan plan = { 0 };
	char mac[LX_HWADDR_TEXT];
	struct lx_remote card;
	int r;

	if (!n)
		return err ? lx_code_errno(err->code) : -ENOENT;
	r = parse_card(hwaddr, ipv4, ipv6, &card, mac, err);
	if (r == 0)
		r = lx_plan_make(&plan, &n->config, ctx->wanted, n->spec, &none, &bad, err);
	if (r < 0)
		return r;
	card.at = n->tunnel_id != 0 ? lx_map_get(&plan.by_node, node) : NULL;
	if (!card.at)
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "network %s does not reach node %s", network,
			       node);
	if (r == 0)
		r = lx_moves_note(&n->moves, mac, node, said_of(n, mac), err);
	if (r == 0)
		r = direct(n, &card, err);
	lx_plan_release(&plan);
	lx_moves_release(&none);
	return r;
}
