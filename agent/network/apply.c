/*
 * Carries out one job, step by step:
 *
 *   accept    is it news? within the limits? keep it on disk,       -> a thread ends
 *             then make it what is wanted
 *   decide    what each network shall be (decide.c)
 *   links     forwarding, bridges, lease files, tunnels: netlink and small files, at once
 *   rules     all changed tables in one nft transaction            -> a program ends
 *   dnsmasq   adopted, started, replaced, stopped, all side by side -> they answer
 *   remove    what is no longer wanted: bridge, files
 *   firewall  after changed rules: does another table drop them?   -> a program ends
 *   answer    the status of each network
 *
 * A step that fails for one network is noted in that network's status, and it is left out of
 * the steps which build on it; the others go on. Every step can be repeated.
 */
#include <errno.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "agent/network/bridge.h"
#include "agent/network/child.h"
#include "agent/network/context.h"
#include "agent/network/firewall.h"
#include "agent/network/guard.h"
#include "agent/network/isolation.h"
#include "agent/network/keep.h"
#include "agent/network/nft.h"
#include "agent/network/overlay.h"
#include "agent/network/sysctl.h"
#include "agent/network/uplink.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

#define KEEPING 2

/* ------------------------------------------------------------------ answer */

/* "" when up, else the sentence(s) a user reads; NULL when out of memory. */
static char *status_text(const struct lx_err *err, const char *hint)
{
	if (err->code == LX_OK)
		return strdup(hint ? hint : "");
	return err->hint[0] ? lx_asprintf("%s. %s", err->msg, err->hint) : strdup(err->msg);
}

static int add_status(Lxmgr__V1__ApplyNetworksResponse *status, const char *name, const struct lx_err *err,
		      const char *hint)
{
	lx_autofree char *text = status_text(err, hint);

	if (!text)
		return -ENOMEM;
	return lx_pb_map_set(&lxmgr__v1__apply_networks_response__status_entry__descriptor, &status->n_status,
			     &status->status, name, text);
}

/* NULL when out of memory. */
static Lxmgr__V1__ApplyNetworksResponse *make_status(struct lx_network_ctx *ctx)
{
	const Lxmgr__V1__ApplyNetworksRequest *wanted = ctx->wanted;
	Lxmgr__V1__ApplyNetworksResponse *status = malloc(sizeof(*status));
	int r = 0;

	if (!status)
		return NULL;
	lxmgr__v1__apply_networks_response__init(status);
	for (size_t i = 0; wanted && i < wanted->n_networks && r == 0; i++) {
		const char *name = wanted->networks[i]->name;
		struct lx_network *n = lx_network_find(ctx, name);
		bool refused = ctx->running->refused[i].code != LX_OK;

		r = add_status(status, name, refused || !n ? &ctx->running->refused[i] : &n->err,
			       n ? n->hint : NULL);
	}
	if (r == 0)
		return status;
	lx_pb_free(status);
	return NULL;
}

/* Nobody waits for the outcome of a repair, nor for that of a removal: they go to the log. */
static void log_failures(struct lx_network_ctx *ctx)
{
	struct lx_network *n;

	TAILQ_FOREACH (n, &ctx->networks, entry)
		if (n->err.code != LX_OK)
			lx_warn("network is not up", "network=%s error=\"%s\"", n->name, n->err.msg);
}

static void answer(struct lx_network_ctx *ctx)
{
	struct lx_network_job *job = ctx->running;
	const struct lx_err *err;

	if (job->err.code == LX_OK && job->kind == LX_JOB_REPAIR)
		log_failures(ctx);
	if (job->err.code == LX_OK && job->refused) {
		Lxmgr__V1__ApplyNetworksResponse *status = make_status(ctx);

		if (!status) {
			lx_err_oom(&job->err);
		} else {
			lx_pb_free(ctx->status);
			ctx->status = status;
		}
	}
	if (job->err.code == LX_OK && !ctx->status)
		lx_err_oom(&job->err); /* a status of before was asked for, and there was no memory for it
					  then */
	err = job->err.code == LX_OK ? NULL : &job->err;
	if (job->cb)
		job->cb(err ? NULL : ctx->status, err, job->arg);
	if (job->done)
		job->done(err, job->arg);
	lx_network_job_over(ctx);
}

/* ------------------------------------------------------------------ firewall */

static char *firewall_hint(const struct lx_firewall_chain *chain, const char *bridge)
{
	bool iptables = lx_streq(chain->chain, "FORWARD") && !lx_streq(chain->family, "inet");

	if (!iptables)
		return lx_asprintf(
			"up, but the chain %s of table %s %s drops what its guests send and receive. Accept "
			"packets from and to interface %s there.",
			chain->chain, chain->family, chain->table, bridge);
	const char *tool = lx_streq(chain->family, "ip6") ? "ip6tables" : "iptables";

	return lx_asprintf(
		"up, but the policy of %s' chain FORWARD drops what its guests send and receive (Docker sets "
		"it). Let them through: %s -I FORWARD -i %s -j ACCEPT; %s -I FORWARD -o %s -j ACCEPT",
		tool, tool, bridge, tool, bridge);
}

static void on_firewall(const struct lx_firewall_chain *chain, const char *rules, void *arg)
{
	struct lx_network_ctx *ctx = arg;
	struct lx_network *n;

	TAILQ_FOREACH (n, &ctx->networks, entry) {
		free(n->hint);
		n->hint = NULL;
		if (chain && n->usable && !lx_firewall_mentions(rules, n->name))
			n->hint = firewall_hint(chain, n->name);
	}
	answer(ctx);
}

/* Asked again while there is something to complain of: the user may have mended it. */
static void firewall(struct lx_network_ctx *ctx)
{
	bool ask = ctx->running->rules_changed;
	struct lx_network *n;

	TAILQ_FOREACH (n, &ctx->networks, entry)
		ask |= n->hint != NULL;
	if (!ask || lx_firewall_look(ctx->loop, on_firewall, ctx, NULL) < 0)
		answer(ctx);
}

/* ------------------------------------------------------------------ remove */

static void remove_one(struct lx_network_ctx *ctx, struct lx_network *n)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_tunnel_delete(ctx->nl, n->name, &err) < 0)
		lx_network_note(&n->err, &err);
	if (lx_bridge_delete(ctx->nl, n->name, &err) < 0)
		lx_network_note(&n->err, &err);
	if (lx_rm_rf(n->dir, &err) < 0)
		lx_network_note(&n->err, &err);
	if (n->err.code != LX_OK) {
		lx_err_wrap(&n->err, "cannot take down network %s", n->name);
		if (ctx->running->kind == LX_JOB_TEARDOWN)
			lx_network_note(&ctx->running->err, &n->err);
		else
			lx_warn("network is not gone", "network=%s error=\"%s\"", n->name, n->err.msg);
	}
	lx_network_drop(n);
}

static void remove_unwanted(struct lx_network_ctx *ctx)
{
	struct lx_network *n, *next;

	TAILQ_FOREACH_SAFE (n, &ctx->networks, entry, next)
		if (!n->spec)
			remove_one(ctx, n);
	firewall(ctx);
}

/* ------------------------------------------------------------------ dnsmasq */

static void dnsmasq_part_done(struct lx_network_ctx *ctx)
{
	if (--ctx->running->pending == 0)
		remove_unwanted(ctx);
}

static void on_dnsmasq(const struct lx_err *err, void *arg)
{
	struct lx_network *n = arg;

	if (err)
		lx_network_note(&n->err, err);
	else if (n->reload)
		lx_dnsmasq_reload(n->dnsmasq);
	dnsmasq_part_done(n->ctx);
}

static void dnsmasq(struct lx_network_ctx *ctx)
{
	struct lx_network *n;

	ctx->running->pending = 1; /* ours, until all are asked */
	TAILQ_FOREACH (n, &ctx->networks, entry) {
		bool has_address = n->config.v4.family != 0 || n->config.v6.family != 0;
		struct lx_err err = LX_ERR_INIT;
		int r;

		if (n->spec && !n->usable)
			continue;
		r = lx_dnsmasq_ensure(n->dnsmasq, n->spec && has_address ? &n->config : NULL, on_dnsmasq, n,
				      &err);
		if (r < 0)
			lx_network_note(&n->err, &err);
		else if (r == 0)
			ctx->running->pending++;
		else if (n->reload)
			lx_dnsmasq_reload(n->dnsmasq);
	}
	dnsmasq_part_done(ctx);
}

/* ------------------------------------------------------------------ rules */

static void on_rules(const char *out, const struct lx_err *failure, void *arg)
{
	struct lx_network_ctx *ctx = arg;
	struct lx_network *n;

	ctx->running->rules_changed = failure == NULL;
	TAILQ_FOREACH (n, &ctx->networks, entry) {
		if (!failure || (n->spec && !n->rules_sent))
			continue;
		struct lx_err err = *failure;

		lx_err_wrap(&err, "cannot set the firewall rules");
		lx_network_note(&n->err, &err);
		free(n->rules);
		n->rules = NULL;
		free(n->isolation);
		n->isolation = NULL;
	}
	dnsmasq(ctx);
}

static int collect_isolation(struct lx_network *n, struct lx_buf *text)
{
	lx_autobuf struct lx_buf rules = { 0 };
	int r = lx_isolation_table(&rules, &n->config, n->ctx->wanted, n->spec);

	if (r < 0 || lx_streq(n->isolation, lx_buf_str(&rules)))
		return r;
	r = rules.len ? lx_buf_puts(text, lx_buf_str(&rules)) : lx_isolation_remove(text, n->name);
	if (r < 0)
		return r;
	free(n->isolation);
	n->isolation = strdup(lx_buf_str(&rules));
	n->rules_sent = true;
	return 0;
}

/* Appends what has to change for one network. */
static int collect_rules(struct lx_network *n, struct lx_buf *text)
{
	lx_autobuf struct lx_buf rules = { 0 };
	int r;

	if (!n->spec) {
		r = lx_nft_remove(text, n->name);
		if (r == 0)
			r = lx_isolation_remove(text, n->name);
		return r < 0 ? r : lx_guard_remove_table(text, n->name);
	}
	if (!n->usable)
		return 0;
	r = collect_isolation(n, text);
	if (r == 0)
		r = lx_nft_set(&rules, &n->config);
	if (r < 0 || lx_streq(n->rules, lx_buf_str(&rules)))
		return r;
	r = lx_buf_puts(text, lx_buf_str(&rules));
	if (r == 0)
		r = lx_guard_text(n, text);
	if (r < 0)
		return r;
	free(n->rules);
	n->rules = lx_buf_steal(&rules);
	n->rules_sent = true;
	return 0;
}

static void rules(struct lx_network_ctx *ctx)
{
	static const char *const argv[] = { "nft", "-f", "-", NULL };
	lx_autobuf struct lx_buf text = { 0 };
	struct lx_err err = LX_ERR_INIT;
	struct lx_network *n;
	int r = 0;

	TAILQ_FOREACH (n, &ctx->networks, entry)
		if (r == 0)
			r = collect_rules(n, &text);
	if (r < 0)
		lx_err_oom(&err);
	else if (text.len > 0)
		r = lx_child_run(ctx->loop, argv, lx_buf_str(&text), on_rules, ctx, &err);
	if (r < 0)
		on_rules("", &err, ctx);
	else if (text.len == 0)
		dnsmasq(ctx);
}

/* ------------------------------------------------------------------ links */

static void leases(struct lx_network *n, uint32_t mtu)
{
	struct lx_err err = LX_ERR_INIT, bad = LX_ERR_INIT;
	int r = 0;

	if (!n->leases.dir)
		r = lx_leases_open(&n->leases, n->dir, &err);
	if (r == 0)
		r = lx_leases_sync(&n->leases, &n->config, n->spec, mtu, &n->reload, &bad, &err);
	if (r < 0) {
		lx_network_note(&n->err, &err);
		n->usable = false;
	}
	lx_network_note(&n->err, &bad);
}

static void link_one(struct lx_network *n, uint32_t uplink_mtu)
{
	const struct lx_network_config *c = &n->config;
	uint32_t mtu = c->mtu ? c->mtu : lx_overlay_mtu(n->ctx, c, uplink_mtu);
	struct lx_err err = LX_ERR_INIT, bad = LX_ERR_INIT;

	if (mtu > LX_MTU_MAX)
		mtu = LX_MTU_MAX;
	if (mtu < (c->v6.family ? LX_MTU_MIN_V6 : LX_MTU_MIN))
		mtu = c->v6.family ? LX_MTU_MIN_V6 : LX_MTU_MIN;
	/* Without forwarding guests still reach this machine and each other: worth having. */
	if (c->v4.family != 0 && lx_sysctl_forward_v4(&err) < 0)
		lx_network_note(&n->err, &err);
	if (c->v6.family != 0 && lx_sysctl_forward_v6(&err) < 0)
		lx_network_note(&n->err, &err);
	if (lx_bridge_sync(n->ctx->nl, c, mtu, &err) < 0) {
		lx_network_note(&n->err, &err);
		return;
	}
	n->usable = true;
	leases(n, mtu);
	/* Without the others it still works for those that are here. */
	if (lx_overlay_sync(n, mtu, &bad, &err) < 0)
		lx_network_note(&n->err, &err);
	lx_network_note(&n->err, &bad);
}

static void links(struct lx_network_ctx *ctx)
{
	struct lx_uplink uplink = lx_uplink_find(ctx->nl);
	struct lx_network *n;

	lx_watch_uplink(ctx->watch, uplink.ifindex);
	TAILQ_FOREACH (n, &ctx->networks, entry)
		if (n->spec && n->active)
			link_one(n, uplink.mtu);
	rules(ctx);
}

/* ------------------------------------------------------------------ accept */

static int check_limits(const Lxmgr__V1__ApplyNetworksRequest *req, struct lx_err *err)
{
	if (req->n_networks > LX_NETWORKS_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				  "%zu networks, more than the %d a machine can have", req->n_networks,
				  LX_NETWORKS_MAX);
	for (size_t i = 0; i < req->n_networks; i++)
		if (req->networks[i]->n_leases > LX_LEASES_MAX)
			return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
					  "%zu leases in network %s, more than the %d it can have",
					  req->networks[i]->n_leases, req->networks[i]->name, LX_LEASES_MAX);
	return 0;
}

/* Every network that may have something left on this machine gets a name, so that it is removed. */
static int list_leftovers(struct lx_network_ctx *ctx, struct lx_err *err)
{
	Lxmgr__V1__ApplyNetworksRequest *kept = NULL;
	lx_autoclosedir DIR *dir = opendir(ctx->run_dir);
	struct lx_network *n;
	struct dirent *e;
	int r = 0;

	if (lx_keep_read(ctx->state_dir, &kept, NULL) < 0)
		kept = NULL; /* damaged: the run directory knows them too */
	for (size_t i = 0; kept && i < kept->n_networks && r == 0; i++)
		if (lx_network_name_check(kept->networks[i]->name, NULL) == 0)
			r = lx_network_get(ctx, kept->networks[i]->name, &n, err);
	lx_pb_free(kept);
	while (dir && r == 0 && (e = readdir(dir)))
		if (lx_network_name_check(e->d_name, NULL) == 0)
			r = lx_network_get(ctx, e->d_name, &n, err);
	return r;
}

static void carry_out(struct lx_network_ctx *ctx, int r);

static void on_kept(const struct lx_err *err, void *arg)
{
	struct lx_network_ctx *ctx = arg;
	struct lx_network_job *job = ctx->running;

	if (err) {
		job->err = *err;
		answer(ctx);
		return;
	}
	lx_pb_free(ctx->wanted);
	ctx->wanted = lx_move_ptr(job->req);
	carry_out(ctx, 0);
}

/* Makes the job's intention the context's. 1: there is nothing to carry out; KEEPING: on_kept() goes on. */
static int accept_job(struct lx_network_ctx *ctx, struct lx_network_job *job, struct lx_err *err)
{
	int r = 0;

	switch (job->kind) {
	case LX_JOB_APPLY:
		if (ctx->wanted && job->req->revision < ctx->wanted->revision)
			return 1;
		r = check_limits(job->req, err);
		if (r == 0)
			r = lx_keep_write(ctx->loop, ctx->state_dir, job->req, on_kept, ctx, err);
		return r < 0 ? r : KEEPING;
	case LX_JOB_LOAD:
		if (!ctx->wanted)
			r = lx_keep_read(ctx->state_dir, &ctx->wanted, err);
		break;
	case LX_JOB_REPAIR:
		if (!ctx->wanted)
			return 1;
		break;
	case LX_JOB_TEARDOWN:
		r = list_leftovers(ctx, err);
		if (r == 0) {
			lx_pb_free(ctx->wanted);
			ctx->wanted = NULL;
		}
		break;
	}
	return r;
}

static void carry_out(struct lx_network_ctx *ctx, int r)
{
	struct lx_network_job *job = ctx->running;

	if (r == 0) {
		job->refused = calloc(ctx->wanted ? ctx->wanted->n_networks + 1 : 1, sizeof(*job->refused));
		if (!job->refused)
			r = lx_err_oom(&job->err);
	}
	if (r != 0) {
		answer(ctx);
		return;
	}
	lx_network_decide(ctx, job);
	links(ctx);
}

void lx_network_run_job(struct lx_network_ctx *ctx)
{
	int r = accept_job(ctx, ctx->running, &ctx->running->err);

	if (r != KEEPING)
		carry_out(ctx, r);
}
