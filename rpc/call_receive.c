/*
 * What a call receives.
 *
 * Happy path: bytes go through the framer, whole messages are decoded and handed to
 * the user at once; the end of the stream follows them.
 * A paused call looks at nothing: bytes are held as they are and the window of its stream
 * stays closed; the turn after lx_call_resume() goes on where it stopped.
 * Ways to fail: whatever the framer or the decoder refuses, a stream that ends in the
 * middle of a message, too few or too many messages for the kind of method.
 */
#include <string.h>

#include "rpc/call.h"
#include "rpc/text.h"

/* The error of a message that cannot be taken, told from where the reader stands. */
static void refuse(struct lx_call *call, struct lx_err *err)
{
	lx_err_wrap(err, "%s", call->path);
	/* A bad answer is not an argument anybody here gave. */
	if (!call->server && err->code == LX_INVALID_ARGUMENT)
		err->code = LX_INTERNAL;
	lx_call_abort(call, err);
}

/* Nobody wants what arrives: the call is over, or the server has given its status. */
static bool is_deaf(const struct lx_call *call)
{
	return call->finished || (call->server && call->ending);
}

static bool keeps_one(const struct lx_call *call)
{
	return call->unary || (call->method && call->method->unary);
}

static void on_message(struct lx_call *call, struct lx_bytes bytes)
{
	struct lx_unpacked msg = { 0 };
	struct lx_err err = LX_ERR_INIT;

	if (call->raw) {
		if (call->events->bytes)
			call->events->bytes(call, bytes, call->arg);
		return;
	}
	if (keeps_one(call) && call->kept.msg) {
		lx_call_abortf(call, call->server ? LX_INVALID_ARGUMENT : LX_INTERNAL, "%s: more than one %s",
			       call->path, call->server ? "request" : "answer");
		return;
	}
	if (lx_rpc_unpack(&msg, call->incoming, bytes, &err) < 0 ||
	    (call->server && lx_text_check(call->incoming, bytes, &err) < 0)) {
		lx_unpacked_release(&msg);
		refuse(call, &err);
		return;
	}
	if (keeps_one(call)) {
		call->kept = msg;
		return;
	}
	if (call->events->message)
		call->events->message(call, msg.msg, call->arg);
	lx_unpacked_release(&msg);
}

static void count_partial(struct lx_call *call)
{
	struct lx_conn *c = call->conn;
	size_t now = lx_framer_partial(&call->rx) ? call->rx.body.len : 0;

	c->partial += now - call->partial;
	call->partial = now;
	if (now && c->partial > LX_CONN_PARTIAL)
		lx_call_abortf(call, LX_RESOURCE_EXHAUSTED,
			       "%s: %zu bytes of unfinished messages on one connection are too many",
			       call->path, c->partial);
}

/* Looks at bytes until they are used up or the user wants no more; returns how many. */
static size_t take(struct lx_call *call, const uint8_t *data, size_t len)
{
	const uint8_t *p = data;
	struct lx_err err = LX_ERR_INIT;
	struct lx_bytes msg;
	int r;

	while (len && !call->paused && !is_deaf(call)) {
		r = lx_framer_feed(&call->rx, &p, &len, &msg, &err);
		if (r == 1)
			on_message(call, msg);
		else if (r < 0)
			refuse(call, &err);
	}
	count_partial(call);
	return (size_t)(p - data);
}

static void open_window(struct lx_call *call, size_t n)
{
	if (n && call->stream)
		nghttp2_session_consume_stream(call->conn->http2, call->stream, n);
}

void lx_call_on_data(struct lx_call *call, const uint8_t *data, size_t len)
{
	size_t used = 0;

	if (!call->held.len)
		used = take(call, data, len);
	if (is_deaf(call)) {
		open_window(call, len);
		return;
	}
	open_window(call, used);
	if (used == len)
		return;
	if (lx_buf_append(&call->held, data + used, len - used) < 0) {
		lx_call_abortf(call, LX_RESOURCE_EXHAUSTED, "%s: out of memory", call->path);
		return;
	}
	call->conn->held += len - used;
}

void lx_call_drop_held(struct lx_call *call)
{
	size_t n = call->held.len;

	call->conn->partial -= call->partial;
	call->partial = 0;
	if (!n)
		return;
	call->conn->held -= n;
	lx_buf_release(&call->held);
	lx_http2_settle(call->conn);
}

/* ------------------------------------------------------------------ the other side's end */

static void client_end(struct lx_call *call)
{
	lx_call_settle_status(call);
	if (call->err.code == LX_OK && call->unary && !call->kept.msg)
		lx_err_set(&call->err, LX_INTERNAL, "%s: success, but no answer", call->path);
	lx_http2_leave(call);
	lx_call_finish(call, &call->err);
}

static void server_end(struct lx_call *call)
{
	const struct lx_method *m = call->method;

	if (!m)
		return;
	if (!m->unary) {
		if (call->events->half_closed)
			call->events->half_closed(call, call->arg);
		return;
	}
	if (!call->kept.msg) {
		lx_call_abortf(call, LX_INVALID_ARGUMENT, "%s: no request", call->path);
		return;
	}
	struct lx_err err = LX_ERR_INIT;

	if (lx_server_admit(call, call->kept.msg, &err) < 0)
		lx_call_abort(call, &err);
	else
		m->unary(call, call->kept.msg, call->method_arg);
	lx_unpacked_release(&call->kept);
}

static void tell_remote_end(struct lx_call *call)
{
	if (!call->remote_end || call->remote_told || is_deaf(call))
		return;
	call->remote_told = true;
	if (lx_framer_partial(&call->rx) && !call->has_status) {
		lx_call_abortf(call, call->server ? LX_INVALID_ARGUMENT : LX_INTERNAL,
			       "%s: the stream ends in the middle of a message", call->path);
		return;
	}
	if (call->server)
		server_end(call);
	else
		client_end(call);
}

void lx_call_on_remote_end(struct lx_call *call)
{
	call->remote_end = true;
	if (!call->paused && !call->held.len)
		tell_remote_end(call);
}

/* ------------------------------------------------------------------ pausing */

void lx_call_deliver(struct lx_call *call)
{
	struct lx_buf held = call->held;
	size_t used;

	if (call->paused)
		return;
	if (held.len) {
		/* Ours while users run: they may pause, resume or end the call meanwhile. */
		call->held = (struct lx_buf){ 0 };
		used = take(call, held.data, held.len);
		if (is_deaf(call))
			used = held.len;
		lx_buf_consume(&held, used);
		call->conn->held -= used;
		open_window(call, used);
		lx_http2_settle(call->conn);
		if (held.len)
			call->held = held;
		else
			lx_buf_release(&held);
	}
	if (!call->paused && !call->held.len)
		tell_remote_end(call);
}

void lx_call_pause(struct lx_call *call)
{
	call->paused = true;
}

void lx_call_resume(struct lx_call *call)
{
	if (!call->paused)
		return;
	call->paused = false;
	if (call->held.len || call->remote_end)
		lx_call_due(call);
}
