/*
 * From the request to what each network shall be.
 *
 * A network whose new configuration is wrong, or collides with what the machine has, keeps
 * the one it runs with (and says so in its status); one that never ran is not made. Networks
 * that run as they are come first, so that a newcomer cannot take a subnet from them.
 */
#include <stdio.h>
#include <string.h>

#include "agent/network/bridge.h"
#include "agent/network/conflicts.h"
#include "agent/network/context.h"
#include "lib/cleanup.h"
#include "lib/str.h"

/* A network for a spec; refused when its name is none, or listed twice. */
static void take_spec(struct lx_network_ctx *ctx, const Lxmgr__V1__NetworkSpec *spec, struct lx_err *refused)
{
	struct lx_network_config config;
	struct lx_err err = LX_ERR_INIT;
	struct lx_network *n = NULL;
	int r = lx_network_config_parse(spec, &config, &err);

	/* A wrong value: an existing network stays. A wrong name: there is none. */
	n = lx_network_find(ctx, spec->name);
	if (r < 0 && !n) {
		*refused = err;
		return;
	}
	if (n && n->spec) {
		lx_err_set(refused, LX_INVALID_ARGUMENT, "network %s is listed twice", spec->name);
		return;
	}
	if (!n && lx_network_get(ctx, spec->name, &n, refused) < 0)
		return;
	n->spec = spec;
	n->has_next = r == 0;
	if (r == 0)
		n->next = config;
	else
		n->err = err;
}

static void reset(struct lx_network *n)
{
	n->spec = NULL;
	n->has_next = n->usable = n->rules_sent = n->reload = false;
	n->err = LX_ERR_INIT;
}

/* Whether it goes on as before: nothing of it has to be checked against others. */
static bool goes_on(const struct lx_network *n)
{
	return n->active && (!n->has_next || lx_network_config_equal(&n->config, &n->next));
}

/* The machine's own subnets: interfaces of ours are left out, removed ones too. */
static int collect(struct lx_network_ctx *ctx, struct lx_taken *taken, struct lx_err *err)
{
	const char *own[2 * LX_NETWORKS_MAX];
	struct lx_network *n;
	size_t n_own = 0;

	TAILQ_FOREACH (n, &ctx->networks, entry)
		if (n_own < LX_ARRAY_SIZE(own))
			own[n_own++] = n->name;
	return lx_taken_collect(taken, ctx->nl, own, n_own, err);
}

/* Takes on n->next, unless it collides. */
static void try_next(struct lx_network *n, struct lx_taken *taken)
{
	/* One that stands already is not refused because of what came later. */
	bool stands = lx_bridge_is_up(n->ctx->nl, &n->next);

	if (stands || lx_taken_check(taken, &n->next, &n->err) == 0) {
		n->config = n->next;
		n->active = true;
	}
	if (n->active) {
		struct lx_err err = LX_ERR_INIT;

		if (lx_taken_add_network(taken, &n->config, &err) < 0)
			lx_network_note(&n->err, &err);
	}
}

void lx_network_decide(struct lx_network_ctx *ctx, struct lx_network_job *job)
{
	struct lx_taken taken = { 0 };
	struct lx_err err = LX_ERR_INIT;
	bool changes = false;
	struct lx_network *n;

	TAILQ_FOREACH (n, &ctx->networks, entry)
		reset(n);
	for (size_t i = 0; ctx->wanted && i < ctx->wanted->n_networks; i++)
		take_spec(ctx, ctx->wanted->networks[i], &job->refused[i]);
	TAILQ_FOREACH (n, &ctx->networks, entry) {
		if (n->spec && goes_on(n))
			lx_taken_add_network(&taken, &n->config, &err);
		else if (n->spec)
			changes = true;
	}
	if (changes && err.code == LX_OK)
		collect(ctx, &taken, &err);
	TAILQ_FOREACH (n, &ctx->networks, entry) {
		if (!n->spec || goes_on(n))
			continue;
		if (err.code != LX_OK)
			lx_network_note(&n->err, &err);
		else if (n->has_next)
			try_next(n, &taken);
	}
	lx_taken_release(&taken);
}
