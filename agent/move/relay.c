/*
 * Nothing is decoded on the way. A call that ends leaves the worker's side open: whether the
 * worker is told, or waits for a word that comes another way, is for the move to say.
 */
#include "agent/move/relay.h"

#include <stdlib.h>
#include <unistd.h>

#include "agent/frames.h"
#include "agent/pump.h"
#include "lib/cleanup.h"
#include "proto/pb.h"

struct lx_relay {
	struct lx_call *call; /* NULL: it has ended */
	struct lx_sink *sink;
	struct lx_source *source; /* NULL: the worker has closed its end */
	struct lx_buf partial;
	lx_relay_ended_cb ended;
	void *arg;
	bool server;  /* the call is one that was made to us */
	bool closing; /* the worker has gone: closed when all it wrote was passed on */
	bool closed;  /* waits for the end of the call to be freed */
};

static void free_relay(struct lx_relay *r)
{
	lx_sink_close(r->sink);
	lx_source_close(r->source);
	lx_buf_release(&r->partial);
	free(r);
}

/* ------------------------------------------------------------------ from the worker */

static int on_data(const uint8_t *data, size_t len, void *arg)
{
	struct lx_relay *r = arg;

	if (!r->call)
		return 0;
	int n = lx_frames_to_call(&r->partial, data, len, r->call);

	if (n < 0)
		lx_call_cancel(r->call);
	return n > 0;
}

static void close_now(struct lx_relay *r, const struct lx_err *err);

static void on_end(void *arg)
{
	struct lx_relay *r = arg;

	lx_source_close(r->source);
	r->source = NULL;
	if (r->closing)
		close_now(r, NULL);
}

static const struct lx_source_events source_events = { .data = on_data, .end = on_end };

/* ------------------------------------------------------------------ to the worker */

static void on_drained(void *arg)
{
	struct lx_relay *r = arg;

	if (r->call)
		lx_call_resume(r->call);
}

static const struct lx_sink_events sink_events = { .drained = on_drained };

static void on_bytes(struct lx_call *call, struct lx_bytes msg, void *arg)
{
	struct lx_relay *r = arg;
	int n = r->closed ? 0 : lx_frames_to_sink(r->sink, msg, NULL);

	if (n > 0)
		lx_call_pause(call);
	else if (n < 0)
		lx_call_cancel(call);
}

static void on_writable(struct lx_call *call, void *arg)
{
	struct lx_relay *r = arg;

	if (r->source)
		lx_source_resume(r->source);
}

static void on_half_closed(struct lx_call *call, void *arg)
{
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct lx_relay *r = arg;

	r->call = NULL;
	if (r->closed || r->closing)
		free_relay(r);
	else
		r->ended(r->arg, err);
}

static const struct lx_call_events call_events = {
	.bytes = on_bytes,
	.half_closed = on_half_closed,
	.writable = on_writable,
	.closed = on_closed,
};

/* ------------------------------------------------------------------ life */

int lx_relay_open(uv_loop_t *loop, struct lx_call *call, bool server, int fd, lx_relay_ended_cb ended,
		  void *arg, struct lx_relay **ret, struct lx_err *err)
{
	struct lx_relay *r = calloc(1, sizeof(*r));
	int copy = dup(fd);

	if (!r || copy < 0) {
		close(fd);
		if (copy >= 0)
			close(copy);
		free(r);
		return lx_err_oom(err);
	}
	r->ended = ended;
	r->arg = arg;
	r->server = server;
	int n = lx_source_open(loop, fd, &source_events, r, &r->source, err);

	if (n < 0)
		close(copy);
	else
		n = lx_sink_open(loop, copy, &sink_events, r, &r->sink, err);
	if (n < 0) {
		free_relay(r);
		return n;
	}
	r->call = call;
	lx_call_set_events(call, &call_events, r);
	*ret = r;
	return 0;
}

void lx_relay_tell(struct lx_relay *r, const Lxmgr__V1__MoveFrame *frame)
{
	size_t len = 0;
	lx_autofree uint8_t *data = lx_pb_pack(&frame->base, &len);

	if (data)
		(void)lx_frames_to_sink(r->sink, (struct lx_bytes){ .data = data, .len = len }, NULL);
}

bool lx_relay_is_cut(const struct lx_relay *r)
{
	return r->call == NULL;
}

static void close_now(struct lx_relay *r, const struct lx_err *err)
{
	r->closed = true;
	lx_sink_close(r->sink);
	lx_source_close(r->source);
	r->sink = NULL;
	r->source = NULL;
	if (!r->call)
		free_relay(r);
	else if (r->server)
		lx_call_fail(r->call, err);
	else if (err)
		lx_call_cancel(r->call);
	else
		lx_call_half_close(r->call);
}

void lx_relay_close(struct lx_relay *r, const struct lx_err *err)
{
	if (!r)
		return;
	if (err || !r->call || !r->source) {
		close_now(r, err);
		return;
	}
	r->closing = true;
	lx_source_finish(r->source);
}
