/*
 * The cards of this machine that are guarded: kept in memory, from what their instances' agents
 * say, so that the packet filter can be put back whole at any time.
 *
 * A card is first set in the kernel and then noted; what is noted goes into the text of a table
 * that is set anew (lx_guard_text). An agent's start leaves the sets as they are: they guard what
 * has been running meanwhile, also a card that its instance shall not have after its next start.
 */
#include "agent/network/guard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/network/context.h"
#include "agent/network/port.h"
#include "lib/log.h"

/* ------------------------------------------------------------------ pure */

/* The link-local address every interface gives itself (RFC 4291, appendix A). */
static struct lx_subnet link_local(const uint8_t h[LX_HWADDR_BYTES])
{
	return (struct lx_subnet){
		.family = AF_INET6,
		.prefix = 128,
		.addr = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, h[0] ^ 2, h[1], h[2], 0xff, 0xfe, h[3], h[4], h[5] },
	};
}

int lx_guard_parse(const struct lx_network_port *port, struct lx_guard *out, struct lx_err *err)
{
	int r = 0;

	*out = (struct lx_guard){ .options = port->options };
	snprintf(out->network, sizeof(out->network), "%s", port->network);
	snprintf(out->instance, sizeof(out->instance), "%s", port->instance);
	snprintf(out->host_name, sizeof(out->host_name), "%s", port->host_name);
	/* The name goes into the filter's text as it is. */
	if (*port->host_name == '\0' || strlen(port->host_name) >= IFNAMSIZ ||
	    strpbrk(port->host_name, "\"\\ /\n*") || !lx_hwaddr_parse(port->hwaddr, out->hwaddr))
		return lx_err_set(
			err, LX_INVALID_ARGUMENT,
			"a network card of %s has no usable host end or hardware address (\"%.20s\", "
			"\"%.20s\")",
			port->instance, port->host_name, port->hwaddr);
	out->v6[1] = link_local(out->hwaddr);
	if (!lx_str_empty(port->ipv4))
		r = lx_subnet_parse_host("ipv4.address", AF_INET, port->ipv4, &out->v4, err);
	if (r == 0 && !lx_str_empty(port->ipv6))
		r = lx_subnet_parse_host("ipv6.address", AF_INET6, port->ipv6, &out->v6[0], err);
	return r;
}

bool lx_guard_is_plain(const struct lx_guard *g, int family)
{
	return g->options.egress == 0 && g->options.priority == 0 &&
	       !(family == AF_INET ? g->options.free_v4 : g->options.free_v6);
}

const char *lx_guard_limit_name(const struct lx_guard *g, char out[LX_GUARD_OBJECT_MAX])
{
	snprintf(out, LX_GUARD_OBJECT_MAX, "%s-%" PRIu64, g->host_name, g->options.egress);
	return out;
}

/* ------------------------------------------------------------------ the context's cards */

int lx_guard_text(const struct lx_network *n, struct lx_buf *out)
{
	int r = lx_guard_table(out, n->name);

	for (struct lx_map_entry *e = lx_map_first(&n->ctx->guards); e && r == 0; e = lx_map_next(e)) {
		const struct lx_guard *g = lx_map_value(e);

		if (lx_streq(g->network, n->name))
			r = lx_guard_elements(out, g);
	}
	return r;
}

static bool same(const struct lx_guard *a, const struct lx_guard *b)
{
	return lx_streq(a->network, b->network) && memcmp(a->hwaddr, b->hwaddr, sizeof(a->hwaddr)) == 0 &&
	       a->v4.family == b->v4.family && memcmp(a->v4.addr, b->v4.addr, sizeof(a->v4.addr)) == 0 &&
	       a->v6[0].family == b->v6[0].family &&
	       memcmp(a->v6[0].addr, b->v6[0].addr, sizeof(a->v6[0].addr)) == 0 &&
	       a->options.free_mac == b->options.free_mac && a->options.free_v4 == b->options.free_v4 &&
	       a->options.free_v6 == b->options.free_v6 && a->options.egress == b->options.egress &&
	       a->options.priority == b->options.priority;
}

/* In the kernel: instead of what was there, or, when that is not what was thought, all anew. */
static int set(struct lx_network_ctx *ctx, const struct lx_guard *was, const struct lx_guard *now,
	       struct lx_err *err)
{
	struct lx_err why = LX_ERR_INIT;
	int r = lx_guard_change(ctx->netfilter, was && lx_streq(was->network, now->network) ? was : NULL, now,
				&why);

	if (r == -ENOENT && was)
		r = lx_guard_change(ctx->netfilter, NULL, now, &why);
	if (r < 0 && err) {
		*err = why;
		lx_err_hint(err, "lxmgr network show %s says what is wrong with it.", now->network);
	}
	return r;
}

int lx_network_guard(struct lx_network_ctx *ctx, const struct lx_network_port *port, struct lx_err *err)
{
	const struct lx_network *n = lx_network_find(ctx, port->network);
	const struct lx_guard *was = lx_map_get(&ctx->guards, port->host_name);
	struct lx_guard parsed, *now;
	int r;

	if (!n || !n->active || !n->spec)
		return lx_err_set(err, LX_NOT_FOUND, "this node has no network %s", port->network);
	r = lx_guard_parse(port, &parsed, err);
	if (r < 0)
		return r;
	if (!was || !same(was, &parsed))
		r = set(ctx, was, &parsed, err);
	if (r < 0)
		return r;
	now = malloc(sizeof(*now));
	if (!now)
		return lx_err_oom(err);
	*now = parsed;
	if (lx_map_set(&ctx->guards, port->host_name, now) < 0) {
		free(now);
		return lx_err_oom(err);
	}
	return 0;
}

int lx_network_plugged(struct lx_network_ctx *ctx, const char *host_name, struct lx_err *err)
{
	struct lx_guard *g = lx_map_get(&ctx->guards, host_name);

	if (!g)
		return 0;
	unsigned index = if_nametoindex(host_name);
	int r = lx_port_set(ctx->nl, g, err);

	g->port = r == 0 ? index : 0;
	return r < 0 ? r : 0;
}

void lx_guard_seen(struct lx_network_ctx *ctx, const char *host_name, bool plugged)
{
	struct lx_guard *g = lx_map_get(&ctx->guards, host_name);
	struct lx_err err = LX_ERR_INIT;

	if (!g)
		return;
	if (!plugged)
		g->port = 0;
	else if (g->port != if_nametoindex(host_name) && lx_network_plugged(ctx, host_name, &err) < 0)
		lx_warn("a network card is not set up", "instance=%s card=%s error=\"%s\"", g->instance,
			host_name, err.msg);
}

bool lx_guard_is_plugged(const struct lx_network_ctx *ctx, const uint8_t hwaddr[LX_HWADDR_BYTES])
{
	for (struct lx_map_entry *e = lx_map_first(&ctx->guards); e; e = lx_map_next(e)) {
		const struct lx_guard *g = lx_map_value(e);

		if (g->port != 0 && memcmp(g->hwaddr, hwaddr, sizeof(g->hwaddr)) == 0)
			return true;
	}
	return false;
}

bool lx_network_guards(const struct lx_network_ctx *ctx, const char *host_name)
{
	return lx_map_has(&ctx->guards, host_name);
}

static void unguard(struct lx_network_ctx *ctx, const struct lx_guard *g)
{
	struct lx_err err = LX_ERR_INIT;

	/* Gone already, or with its table: as it should be. */
	if (lx_guard_change(ctx->netfilter, g, NULL, &err) < 0)
		lx_debug("a card was not in the packet filter", "instance=%s card=%s error=\"%s\"",
			 g->instance, g->host_name, err.msg);
	lx_guard_forget_refused(ctx->netfilter, g);
	lx_map_del(&ctx->refused, g->host_name);
	lx_map_del(&ctx->guards, g->host_name);
}

void lx_network_unguard_card(struct lx_network_ctx *ctx, const char *host_name)
{
	const struct lx_guard *g = ctx ? lx_map_get(&ctx->guards, host_name) : NULL;

	if (g)
		unguard(ctx, g);
}

void lx_network_unguard(struct lx_network_ctx *ctx, const char *instance)
{
	struct lx_map_entry *next;

	for (struct lx_map_entry *e = ctx ? lx_map_first(&ctx->guards) : NULL; e; e = next) {
		const struct lx_guard *g = lx_map_value(e);

		next = lx_map_next(e);
		if (lx_streq(g->instance, instance))
			unguard(ctx, g);
	}
}
