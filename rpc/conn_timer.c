/*
 * The one timer of a connection: giving up (handshake, closing), keep-alive and the
 * deadlines of its calls. It is set for the earliest of them; firing too early because that
 * one is gone meanwhile is harmless, so that ending a call never touches the timer.
 */
#include "lib/clock.h"
#include "rpc/call.h"
#include "rpc/conn.h"

static uint64_t first_deadline(const struct lx_conn *c)
{
	const struct lx_call *call = TAILQ_FIRST(&c->deadlines);

	return call ? call->deadline_ns : 0;
}

static uint64_t min_set(uint64_t a, uint64_t b)
{
	return a && a < b ? a : b;
}

void lx_conn_rearm(struct lx_conn *c)
{
	uint64_t now = uv_now(c->loop), next = UINT64_MAX;
	uint64_t deadline = first_deadline(c), now_ns, in_ms;

	if (c->state >= LX_CONN_LINGER)
		return;
	next = min_set(c->give_up_ms, next);
	if (c->keepalive && c->state == LX_CONN_OPEN)
		next = min_set((c->ping_ms ? c->ping_ms : c->heard_ms) + LX_RPC_KEEPALIVE_MS, next);
	if (deadline) {
		now_ns = lx_now_monotonic_ns();
		in_ms = deadline > now_ns ? (deadline - now_ns) / LX_NSEC_PER_MSEC + 1 : 0;
		next = min_set(now + in_ms, next);
	}
	if (next == UINT64_MAX) {
		uv_timer_stop(&c->timer);
		return;
	}
	uv_timer_start(&c->timer, lx_conn_on_timer, next > now ? next - now : 0, 0);
}

static void expire_calls(struct lx_conn *c)
{
	uint64_t now = lx_now_monotonic_ns();
	struct lx_call *call;

	while ((call = TAILQ_FIRST(&c->deadlines)) && call->deadline_ns <= now)
		lx_call_abortf(call, LX_DEADLINE_EXCEEDED, "%s: the deadline has passed", call->path);
}

static void keep_alive(struct lx_conn *c)
{
	uint64_t now = uv_now(c->loop);
	struct lx_err err;

	if (c->ping_ms && c->heard_ms >= c->ping_ms)
		c->ping_ms = 0;
	if (c->ping_ms && now >= c->ping_ms + LX_RPC_KEEPALIVE_MS && !c->ping_late) {
		/* Timers come before input: a process that slept has not read the answer yet. */
		c->ping_late = true;
		c->ping_ms = now - LX_RPC_KEEPALIVE_MS + LX_CONN_LINGER_MS;
	} else if (c->ping_ms && now >= c->ping_ms + LX_RPC_KEEPALIVE_MS) {
		lx_err_set(&err, LX_UNAVAILABLE, "%s does not answer any more", c->name);
		lx_conn_fail(c, &err);
	} else if (!c->ping_ms && now >= c->heard_ms + LX_RPC_KEEPALIVE_MS) {
		c->ping_ms = now;
		c->ping_late = false;
		lx_http2_ping(c);
	}
}

static void give_up(struct lx_conn *c)
{
	struct lx_err err;

	if (c->state == LX_CONN_DIALING)
		lx_err_set(&err, LX_UNAVAILABLE, "cannot connect to %s: no answer in %u s", c->name,
			   LX_RPC_HANDSHAKE_MS / 1000);
	else if (c->state == LX_CONN_HANDSHAKE)
		lx_err_set(&err, LX_UNAVAILABLE, "%s did not complete the handshake in %u s", c->name,
			   LX_RPC_HANDSHAKE_MS / 1000);
	else
		lx_err_set(&err, LX_UNAVAILABLE, "the connection with %s is closed", c->name);
	lx_conn_fail(c, &err);
}

void lx_conn_on_timer(uv_timer_t *timer)
{
	struct lx_conn *c = timer->data;

	if (c->failed)
		return;
	expire_calls(c);
	if (c->keepalive && c->state == LX_CONN_OPEN)
		keep_alive(c);
	if (c->give_up_ms && uv_now(c->loop) >= c->give_up_ms)
		give_up(c);
	lx_conn_kick(c);
	if (!c->failed)
		lx_conn_rearm(c);
}

void lx_conn_add_deadline(struct lx_conn *c, struct lx_call *call)
{
	struct lx_call *at;

	/* Timeouts tend to be alike: the right place is near the end. */
	TAILQ_FOREACH_REVERSE(at, &c->deadlines, lx_call_list, in_deadlines)
	if (at->deadline_ns <= call->deadline_ns)
		break;
	if (at)
		TAILQ_INSERT_AFTER(&c->deadlines, at, call, in_deadlines);
	else
		TAILQ_INSERT_HEAD(&c->deadlines, call, in_deadlines);
	call->has_deadline = true;
	if (!at)
		lx_conn_rearm(c);
}
