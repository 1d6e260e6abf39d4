/*
 * The context's life, its networks, and the queue of jobs.
 *
 * Closing waits for the running job (its programs hold on to it; they have time limits),
 * answers the waiting ones with CANCELLED and then closes everything that is open. Networks
 * of the machine stay as they are.
 */
#include "agent/network/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/network/bridge.h"
#include "agent/network/guard.h"
#include "agent/network/isolation.h"
#include "agent/network/nft.h"
#include "agent/network/nl.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

/* A flush or a route daemon's restart is many notifications: wait until they are over. */
#define SETTLE_MS 200

static void close_now(struct lx_network_ctx *ctx);

/* ------------------------------------------------------------------ networks */

struct lx_network *lx_network_find(const struct lx_network_ctx *ctx, const char *name)
{
	struct lx_network *n;

	TAILQ_FOREACH (n, &ctx->networks, entry)
		if (lx_streq(n->name, name))
			return n;
	return NULL;
}

static void network_free(struct lx_network *n)
{
	if (n->leases.dir)
		lx_leases_close(&n->leases);
	lx_moves_release(&n->moves);
	free(n->dir);
	free(n->rules);
	free(n->isolation);
	free(n->hint);
	free(n);
}

int lx_network_get(struct lx_network_ctx *ctx, const char *name, struct lx_network **ret, struct lx_err *err)
{
	struct lx_network *n = lx_network_find(ctx, name);
	int r;

	if (n) {
		*ret = n;
		return 0;
	}
	n = calloc(1, sizeof(*n));
	if (!n)
		return lx_err_oom(err);
	n->ctx = ctx;
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->dir = lx_path_join(ctx->run_dir, name);
	r = n->dir ? lx_dnsmasq_create(ctx->loop, name, n->dir, &n->dnsmasq, err) : lx_err_oom(err);
	if (r < 0) {
		network_free(n);
		return r;
	}
	TAILQ_INSERT_TAIL(&ctx->networks, n, entry);
	*ret = n;
	return 0;
}

static void on_part_closed(void *arg)
{
	struct lx_network_ctx *ctx = arg;

	ctx->open--;
	if (ctx->closing)
		close_now(ctx);
}

void lx_network_drop(struct lx_network *n)
{
	struct lx_network_ctx *ctx = n->ctx;

	TAILQ_REMOVE(&ctx->networks, n, entry);
	ctx->open++;
	lx_dnsmasq_free(n->dnsmasq, on_part_closed, ctx);
	network_free(n);
}

void lx_network_note(struct lx_err *first, const struct lx_err *err)
{
	if (first->code == LX_OK)
		*first = *err;
}

/* ------------------------------------------------------------------ jobs */

static void job_free(struct lx_network_job *job)
{
	lx_pb_free(job->req);
	free(job->refused);
	free(job);
}

static void on_kick(uv_timer_t *timer);

/* NULL when out of memory. */
static struct lx_network_job *enqueue(struct lx_network_ctx *ctx, enum lx_network_job_kind kind)
{
	struct lx_network_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->kind = kind;
	TAILQ_INSERT_TAIL(&ctx->jobs, job, entry);
	if (!ctx->running)
		uv_timer_start(&ctx->kick, on_kick, 0, 0);
	return job;
}

static void cancel(struct lx_network_job *job)
{
	struct lx_err err = LX_ERR_INIT;

	lx_err_set(&err, LX_CANCELLED, "the agent is shutting down");
	if (job->cb)
		job->cb(NULL, &err, job->arg);
	if (job->done)
		job->done(&err, job->arg);
}

static void on_kick(uv_timer_t *timer)
{
	struct lx_network_ctx *ctx = timer->data;
	struct lx_network_job *job = TAILQ_FIRST(&ctx->jobs);

	if (ctx->running)
		return;
	if (ctx->closing) {
		for (; job; job = TAILQ_FIRST(&ctx->jobs)) {
			TAILQ_REMOVE(&ctx->jobs, job, entry);
			cancel(job);
			job_free(job);
		}
		close_now(ctx);
		return;
	}
	if (!job)
		return;
	TAILQ_REMOVE(&ctx->jobs, job, entry);
	ctx->running = job;
	lx_network_run_job(ctx);
}

void lx_network_job_over(struct lx_network_ctx *ctx)
{
	job_free(ctx->running);
	ctx->running = NULL;
	if (ctx->closing || !TAILQ_EMPTY(&ctx->jobs))
		uv_timer_start(&ctx->kick, on_kick, 0, 0);
}

/* ------------------------------------------------------------------ what others change */

static void on_settled(uv_timer_t *timer)
{
	struct lx_network_ctx *ctx = timer->data;

	if (!ctx->closing && !enqueue(ctx, LX_JOB_REPAIR))
		uv_timer_start(&ctx->settle, on_settled, SETTLE_MS, 0);
}

static void forget_rules(struct lx_network *n)
{
	free(n->rules);
	n->rules = NULL;
	free(n->isolation);
	n->isolation = NULL;
}

/* The network whose bridge or tunnel it is, or was. */
static struct lx_network *find_by_interface(const struct lx_network_ctx *ctx, const char *name)
{
	uint32_t id = lx_tunnel_id(name);
	struct lx_network *n;

	TAILQ_FOREACH (n, &ctx->networks, entry)
		if (id != 0 && n->tunnel_id == id)
			return n;
	return lx_network_find(ctx, name);
}

/* The network whose table it was. */
static struct lx_network *find_by_table(const struct lx_network_ctx *ctx, const char *name)
{
	static const char *const prefixes[] = { LX_NFT_TABLE_PREFIX, LX_GUARD_TABLE_PREFIX,
						LX_ISOLATION_TABLE_PREFIX };

	for (size_t i = 0; i < LX_ARRAY_SIZE(prefixes); i++)
		if (lx_starts_with(name, prefixes[i]))
			return lx_network_find(ctx, name + strlen(prefixes[i]));
	return NULL;
}

static void on_change(enum lx_watch_event event, const char *name, void *arg)
{
	struct lx_network_ctx *ctx = arg;
	struct lx_network *n = NULL;

	if (ctx->closing || !ctx->wanted)
		return;
	switch (event) {
	case LX_WATCH_UPLINK:
		break;
	case LX_WATCH_LINK_DELETED:
		n = find_by_interface(ctx, name);
		if (!n || !n->spec)
			return; /* not ours, or we did it */
		lx_warn("an interface was deleted by someone, making it again", "network=%s interface=%s",
			n->name, name);
		break;
	case LX_WATCH_LINK_PLUGGED:
	case LX_WATCH_LINK_LOOSE:
		lx_guard_seen(ctx, name, event == LX_WATCH_LINK_PLUGGED);
		return;
	case LX_WATCH_TABLE_DELETED:
		n = find_by_table(ctx, name);
		if (!n || !n->spec)
			return;
		if (lx_starts_with(name, LX_ISOLATION_TABLE_PREFIX) && lx_streq(n->isolation, ""))
			return; /* we did it: nothing needs it any more */
		lx_warn("firewall rules were deleted by someone, setting them again", "network=%s", n->name);
		forget_rules(n);
		break;
	case LX_WATCH_LOST:
		TAILQ_FOREACH (n, &ctx->networks, entry)
			forget_rules(n);
		break;
	}
	uv_timer_start(&ctx->settle, on_settled, SETTLE_MS, 0);
}

/* ------------------------------------------------------------------ opening and closing */

static void context_free(struct lx_network_ctx *ctx)
{
	lx_pb_free(ctx->wanted);
	lx_pb_free(ctx->status);
	nl_socket_free(ctx->nl);
	nl_socket_free(ctx->netfilter);
	lx_map_release(&ctx->guards);
	lx_map_release(&ctx->refused);
	if (ctx->announce_fd >= 0)
		close(ctx->announce_fd);
	free(ctx->state_dir);
	free(ctx->run_dir);
	free(ctx);
}

int lx_network_open(uv_loop_t *loop, const char *state_dir, const char *run_dir, struct lx_network_ctx **ret,
		    struct lx_err *err)
{
	struct lx_network_ctx *ctx = calloc(1, sizeof(*ctx));
	int r;

	if (!ctx)
		return lx_err_oom(err);
	ctx->loop = loop;
	ctx->announce_fd = -1;
	TAILQ_INIT(&ctx->networks);
	TAILQ_INIT(&ctx->jobs);
	ctx->state_dir = strdup(state_dir);
	ctx->run_dir = lx_path_join(run_dir, "network");
	lx_map_init(&ctx->guards, free);
	lx_map_init(&ctx->refused, free);
	r = ctx->state_dir && ctx->run_dir ? 0 : lx_err_oom(err);
	if (r == 0)
		r = lx_mkdir_p(ctx->state_dir, 0711, err);
	if (r == 0)
		r = lx_mkdir_p(ctx->run_dir, 0755, err);
	if (r == 0)
		r = lx_nl_open(NETLINK_ROUTE, &ctx->nl, err);
	if (r == 0)
		r = lx_nl_open(NETLINK_NETFILTER, &ctx->netfilter, err);
	if (r == 0)
		r = lx_watch_open(loop, on_change, ctx, &ctx->watch, err);
	if (r < 0) {
		context_free(ctx);
		return r;
	}
	uv_timer_init(loop, &ctx->kick);
	uv_timer_init(loop, &ctx->settle);
	ctx->kick.data = ctx->settle.data = ctx;
	*ret = ctx;
	return 0;
}

static void on_last_closed(uv_handle_t *handle)
{
	struct lx_network_ctx *ctx = handle->data;
	void (*cb)(void *) = ctx->closed_cb;
	void *arg = ctx->closed_arg;

	context_free(ctx);
	if (cb)
		cb(arg);
}

static void on_settle_closed(uv_handle_t *handle)
{
	struct lx_network_ctx *ctx = handle->data;

	uv_close((uv_handle_t *)&ctx->kick, on_last_closed);
}

/* Called until nothing is open any more: networks, the watch, last the timers. */
static void close_now(struct lx_network_ctx *ctx)
{
	struct lx_network *n;

	if (ctx->running || !TAILQ_EMPTY(&ctx->jobs))
		return; /* on_kick comes */
	while ((n = TAILQ_FIRST(&ctx->networks)))
		lx_network_drop(n);
	if (ctx->watch) {
		ctx->open++;
		lx_watch_close(ctx->watch, on_part_closed, ctx);
		ctx->watch = NULL;
	}
	if (ctx->open == 0 && !uv_is_closing((uv_handle_t *)&ctx->settle))
		uv_close((uv_handle_t *)&ctx->settle, on_settle_closed);
}

void lx_network_close(struct lx_network_ctx *ctx, void (*cb)(void *arg), void *arg)
{
	if (!ctx)
		return;
	ctx->closing = true;
	ctx->closed_cb = cb;
	ctx->closed_arg = arg;
	uv_timer_start(&ctx->kick, on_kick, 0, 0);
}

/* ------------------------------------------------------------------ asking for jobs */

int lx_network_apply(struct lx_network_ctx *ctx, const Lxmgr__V1__ApplyNetworksRequest *req, lx_network_cb cb,
		     void *arg, struct lx_err *err)
{
	Lxmgr__V1__ApplyNetworksRequest *copy = LX_PB_DUP(Lxmgr__V1__ApplyNetworksRequest, req);
	struct lx_network_job *job = copy ? enqueue(ctx, LX_JOB_APPLY) : NULL;

	if (!job) {
		lx_pb_free(copy);
		return lx_err_oom(err);
	}
	job->req = copy;
	job->cb = cb;
	job->arg = arg;
	return 0;
}

int lx_network_load(struct lx_network_ctx *ctx, lx_network_cb cb, void *arg, struct lx_err *err)
{
	struct lx_network_job *job = enqueue(ctx, LX_JOB_LOAD);

	if (!job)
		return lx_err_oom(err);
	job->cb = cb;
	job->arg = arg;
	return 0;
}

int lx_network_teardown(struct lx_network_ctx *ctx, lx_network_done_cb cb, void *arg, struct lx_err *err)
{
	struct lx_network_job *job = enqueue(ctx, LX_JOB_TEARDOWN);

	if (!job)
		return lx_err_oom(err);
	job->done = cb;
	job->arg = arg;
	return 0;
}

/* ------------------------------------------------------------------ looking */

size_t lx_network_count(const struct lx_network_ctx *ctx)
{
	return ctx->wanted ? ctx->wanted->n_networks : 0;
}

const char *lx_network_name(const struct lx_network_ctx *ctx, size_t i)
{
	return ctx->wanted->networks[i]->name;
}

uint32_t lx_network_mtu(const struct lx_network_ctx *ctx, const char *name)
{
	return lx_network_find(ctx, name) ? lx_bridge_mtu(ctx->nl, name) : 0;
}
