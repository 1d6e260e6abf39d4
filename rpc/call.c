/* The life of a call: events, the end; see call.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/call.h"

static const struct lx_call_events no_events;

struct lx_call *lx_call_new(struct lx_conn *c, bool server)
{
	struct lx_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->conn = c;
	call->server = server;
	call->events = &no_events;
	TAILQ_INSERT_TAIL(&c->calls, call, in_conn);
	return call;
}

static void drop_deadline(struct lx_call *call)
{
	if (!call->has_deadline)
		return;
	TAILQ_REMOVE(&call->conn->deadlines, call, in_deadlines);
	call->has_deadline = false;
}

void lx_call_free(struct lx_call *call)
{
	struct lx_conn *c = call->conn;

	drop_deadline(call);
	lx_call_drop_held(call);
	lx_call_tx_drop(call);
	lx_framer_release(&call->rx);
	lx_rpc_metadata_release(&call->metadata);
	lx_rpc_metadata_release(&call->trailers);
	lx_unpacked_release(&call->kept);
	free(call->path);
	if (call->is_due)
		TAILQ_REMOVE(&c->due, call, in_due);
	TAILQ_REMOVE(&c->calls, call, in_conn);
	free(call);
}

/* ------------------------------------------------------------------ telling */

void lx_call_due(struct lx_call *call)
{
	if (!call->is_due) {
		call->is_due = true;
		TAILQ_INSERT_TAIL(&call->conn->due, call, in_due);
	}
	lx_conn_kick(call->conn);
}

static void tell_closed(struct lx_call *call)
{
	const ProtobufCMessage *answer;

	call->told = true;
	if (call->unary) {
		answer = call->err.code == LX_OK ? call->kept.msg : NULL;
		call->unary(answer, &call->err, call->arg);
	} else if (call->events->closed) {
		call->events->closed(call, &call->err, call->arg);
	}
	call->events = &no_events;
	call->arg = NULL;
}

void lx_call_tell(struct lx_call *call)
{
	TAILQ_REMOVE(&call->conn->due, call, in_due);
	call->is_due = false;

	if (!call->finished)
		lx_call_deliver(call);
	if (!call->finished && call->full && lx_call_tx_len(call) <= LX_CALL_LOW_WATER) {
		call->full = false;
		if (call->events->writable)
			call->events->writable(call, call->arg);
	}
	if (call->finished && !call->told)
		tell_closed(call);
	if (call->told && !call->stream)
		lx_call_free(call);
}

void lx_call_set_events(struct lx_call *call, const struct lx_call_events *events, void *arg)
{
	call->events = events ? events : &no_events;
	call->arg = arg;
}

/* ------------------------------------------------------------------ the end */

void lx_call_witness(struct lx_call *call, const struct lx_err *err)
{
	static const struct lx_err ok = { .code = LX_OK };

	if (!call->witnessed)
		return;
	call->witnessed = false;
	call->conn->owner->outcome(call, err ? err : &ok);
}

void lx_call_finish(struct lx_call *call, const struct lx_err *err)
{
	if (call->finished)
		return;
	lx_call_witness(call, err);
	call->finished = true;
	if (!err)
		call->err.code = LX_OK;
	else if (err != &call->err)
		call->err = *err;
	drop_deadline(call);
	lx_call_drop_held(call);
	lx_call_due(call);
}

void lx_call_abort(struct lx_call *call, const struct lx_err *err)
{
	if (call->finished)
		return;
	if (!call->server) {
		lx_http2_reset(call, NGHTTP2_CANCEL);
	} else if (call->ending) {
		/* Its own status is stuck behind data the client does not take. */
		lx_http2_reset(call, NGHTTP2_CANCEL);
	} else {
		lx_call_tx_drop(call);
		lx_call_set_status(call, err);
	}
	lx_call_finish(call, err);
}

void lx_call_abortf(struct lx_call *call, enum lx_code code, const char *fmt, ...)
{
	struct lx_err err = LX_ERR_INIT;
	va_list ap;

	va_start(ap, fmt);
	lx_err_vset(&err, code, fmt, ap);
	va_end(ap);
	lx_call_abort(call, &err);
}

void lx_call_cancel(struct lx_call *call)
{
	struct lx_err err = LX_ERR_INIT;

	if (call->finished)
		return;
	lx_http2_reset(call, NGHTTP2_CANCEL);
	lx_err_set(&err, LX_CANCELLED, "%s was cancelled", call->path);
	lx_call_finish(call, &err);
}

/* What a stream's error code means to the one whose call it ends. */
static enum lx_code reset_code(uint32_t code)
{
	switch (code) {
	case NGHTTP2_REFUSED_STREAM:
		return LX_UNAVAILABLE;
	case NGHTTP2_CANCEL:
		return LX_CANCELLED;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return LX_RESOURCE_EXHAUSTED;
	case NGHTTP2_INADEQUATE_SECURITY:
		return LX_PERMISSION_DENIED;
	default:
		return LX_INTERNAL;
	}
}

void lx_call_on_stream_close(struct lx_call *call, uint32_t code)
{
	struct lx_err err = LX_ERR_INIT;

	call->stream = 0;
	if (call->finished) {
		/* Only its memory was waiting for this. */
		lx_call_due(call);
		return;
	}
	if (call->server) {
		lx_err_set(&err, LX_CANCELLED, "the client cancelled %s",
			   call->path ? call->path : "the call");
	} else if (call->remote_end) {
		/* The outcome is known and comes after what is held back. */
		lx_call_due(call);
		return;
	} else if (code == NGHTTP2_REFUSED_STREAM) {
		lx_err_set(&err, LX_UNAVAILABLE, "%s: %s refused the call", call->path, call->conn->name);
	} else {
		lx_err_set(&err, reset_code(code), "%s: %s ended the call without a status (%s)", call->path,
			   call->conn->name, nghttp2_http2_strerror(code));
	}
	lx_call_finish(call, &err);
}

void lx_call_on_conn_end(struct lx_call *call, const struct lx_err *why)
{
	struct lx_err err = *why;

	call->stream = 0;
	if (call->server)
		lx_err_set(&err, LX_CANCELLED, "%s", why->msg);
	lx_call_finish(call, &err);
	lx_call_due(call);
}

/* ------------------------------------------------------------------ looking */

void *lx_call_arg(const struct lx_call *call)
{
	return call->arg;
}

const char *lx_call_metadata(const struct lx_call *call, const char *name)
{
	return lx_rpc_metadata_get(&call->metadata, name);
}

unsigned lx_call_metadata_count(const struct lx_call *call, const char *name)
{
	unsigned n = 0;

	for (const struct lx_header *h = call->metadata.first; h; h = h->next)
		n += strcmp(h->name, name) == 0;
	return n;
}

const struct lx_peer *lx_call_peer(const struct lx_call *call)
{
	return &call->conn->peer;
}

void lx_call_set_note(struct lx_call *call, void *note)
{
	call->note = note;
}

void *lx_call_note(const struct lx_call *call)
{
	return call->note;
}

const char *lx_call_method(const struct lx_call *call)
{
	return call->path;
}

uint64_t lx_call_deadline_ns(const struct lx_call *call)
{
	return call->deadline_ns;
}
