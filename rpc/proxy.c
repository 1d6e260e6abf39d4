/*
 * Two calls spliced together; see proxy.h.
 *
 * Happy path: each side's messages are sent on the other; when that one is full the side they
 * come from is paused until it drains. The client's half-close is passed on; the server's
 * status ends the client's call.
 * Ways to fail: the onward call cannot be started (the caller gets that error), either side
 * ends early: the other is ended with it, with the status or by cancellation.
 */
#include <stdlib.h>

#include "lib/clock.h"
#include "rpc/proxy.h"

struct proxy {
	struct lx_call *client; /* the one who called us; NULL when it is closed */
	struct lx_call *server; /* the one we called; NULL when it is closed */
	struct lx_err err;      /* how it ended */
	bool ended;
	void (*done)(const struct lx_err *err, void *arg);
	void *arg;
};

static void one_closed(struct proxy *p, const struct lx_err *err)
{
	if (!p->ended) {
		p->ended = true;
		p->err = *err;
	}
	if (p->client || p->server)
		return;
	if (p->done)
		p->done(&p->err, p->arg);
	free(p);
}

/* ------------------------------------------------------------------ the calling side */

static void client_bytes(struct lx_call *call, struct lx_bytes msg, void *arg)
{
	struct proxy *p = arg;

	if (p->server && lx_call_send_bytes(p->server, msg) == 1)
		lx_call_pause(call);
}

static void client_half_closed(struct lx_call *call, void *arg)
{
	struct proxy *p = arg;

	if (p->server)
		lx_call_half_close(p->server);
}

static void client_writable(struct lx_call *call, void *arg)
{
	struct proxy *p = arg;

	if (p->server)
		lx_call_resume(p->server);
}

static void client_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct proxy *p = arg;

	p->client = NULL;
	if (p->server)
		lx_call_cancel(p->server);
	one_closed(p, err);
}

static const struct lx_call_events client_events = {
	.bytes = client_bytes,
	.half_closed = client_half_closed,
	.writable = client_writable,
	.closed = client_closed,
};

/* ------------------------------------------------------------------ the called side */

static void server_bytes(struct lx_call *call, struct lx_bytes msg, void *arg)
{
	struct proxy *p = arg;

	if (p->client && lx_call_send_bytes(p->client, msg) == 1)
		lx_call_pause(call);
}

static void server_writable(struct lx_call *call, void *arg)
{
	struct proxy *p = arg;

	if (p->client)
		lx_call_resume(p->client);
}

static void server_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct proxy *p = arg;

	p->server = NULL;
	if (p->client)
		lx_call_fail(p->client, err);
	one_closed(p, err);
}

static const struct lx_call_events server_events = {
	.bytes = server_bytes,
	.writable = server_writable,
	.closed = server_closed,
};

/* ------------------------------------------------------------------ start */

/* The caller's deadline goes along unless a nearer one is given. */
static struct lx_call_options with_deadline(const struct lx_call *call, const struct lx_call_options *opt)
{
	struct lx_call_options o = opt ? *opt : (struct lx_call_options){ 0 };
	uint64_t deadline = lx_call_deadline_ns(call), now = lx_now_monotonic_ns(), left;

	if (!deadline)
		return o;
	left = deadline > now ? (deadline - now) / LX_NSEC_PER_MSEC + 1 : 1;
	if (!o.timeout_ms || left < o.timeout_ms)
		o.timeout_ms = left;
	return o;
}

void lx_rpc_proxy(struct lx_call *call, struct lx_channel *to, const char *path, struct lx_bytes first,
		  bool half_closed, const struct lx_call_options *opt,
		  void (*done)(const struct lx_err *err, void *arg), void *arg)
{
	struct lx_call_options o = with_deadline(call, opt);
	struct proxy *p = calloc(1, sizeof(*p));
	struct lx_err err = LX_ERR_INIT;

	if (!p) {
		/* Nothing to remember `done` in: the call cannot tell. It is the only way to lose it. */
		lx_err_oom(&err);
		lx_call_fail(call, &err);
		return;
	}
	p->client = call;
	p->done = done;
	p->arg = arg;
	lx_call_set_events(call, &client_events, p);
	if (lx_channel_stream_raw(to, path, &o, &server_events, p, &p->server, &err) < 0) {
		p->server = NULL;
		p->ended = true;
		p->err = err;
		lx_call_fail(call, &err);
		return;
	}
	if (first.data)
		client_bytes(call, first, p);
	if (half_closed)
		client_half_closed(call, p);
}
