/*
 * The frames of one call: request, response, data, status, reset.
 *
 * A response with nothing but a status is one HEADERS frame; otherwise HEADERS, the
 * messages as nghttp2 asks for them, and the status as trailers once the queue is empty.
 * nghttp2 asks again only when told to (lx_http2_resume), so an idle stream costs nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "rpc/call.h"

/* Ours, beside those of the user. */
#define MAX_HEADERS (LX_CALL_MAX_OWN_HEADERS + 12u)

struct headers {
	nghttp2_nv nv[MAX_HEADERS];
	size_t n;
};

static void add(struct headers *h, const char *name, const char *value)
{
	h->nv[h->n++] = (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.value = (uint8_t *)(uintptr_t)value,
		.namelen = strlen(name),
		.valuelen = strlen(value),
		.flags = NGHTTP2_NV_FLAG_NONE,
	};
}

static void add_status(struct headers *h, const struct lx_call *call, char code[8])
{
	const struct lx_header *t;

	snprintf(code, 8, "%d", (int)call->status);
	add(h, "grpc-status", code);
	for (t = call->trailers.first; t; t = t->next)
		add(h, t->name, t->value);
}

/* nghttp2 refused what we made: no memory, or a stream that is gone already. */
static void broken(struct lx_call *call, int r)
{
	struct lx_err err;

	if (r == 0)
		return;
	lx_err_set(&err, LX_INTERNAL, "%s: cannot send: %s", call->path ? call->path : "call",
		   nghttp2_strerror(r));
	lx_http2_reset(call, NGHTTP2_INTERNAL_ERROR);
	lx_call_finish(call, &err);
}

/* nghttp2 wants data of this call. */
static ssize_t on_read(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t room, uint32_t *flags,
		       nghttp2_data_source *source, void *arg)
{
	struct lx_call *call = nghttp2_session_get_stream_user_data(session, stream);
	struct headers h = { .n = 0 };
	char code[8];
	size_t n;

	if (!call)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = lx_call_tx_len(call);
	if (n == 0 && !call->ending) {
		call->idle = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (call->ending && n <= room) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (call->server) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			add_status(&h, call, code);
			if (nghttp2_submit_trailer(session, stream, h.nv, h.n))
				return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		}
	}
	if (n > room)
		n = room;
	if (n)
		*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	return (ssize_t)n;
}

static const nghttp2_data_provider queue = { .read_callback = on_read };

int lx_http2_request(struct lx_call *call, const struct lx_call_options *opt, struct lx_err *err)
{
	struct lx_conn *c = call->conn;
	struct headers h = { .n = 0 };
	char timeout[LX_TIMEOUT_TEXT];
	int32_t stream;
	size_t i;

	add(&h, ":method", "POST");
	add(&h, ":scheme", c->tls_context ? "https" : "http");
	add(&h, ":path", call->path);
	add(&h, ":authority", c->authority);
	add(&h, "te", "trailers");
	add(&h, "content-type", "application/grpc");
	add(&h, "user-agent", "lxmgr/" LX_VERSION);
	if (opt && opt->timeout_ms && opt->timeout_ms <= LX_CALL_MAX_TIMEOUT_MS) {
		lx_timeout_format(opt->timeout_ms * LX_NSEC_PER_MSEC, timeout);
		add(&h, "grpc-timeout", timeout);
	}
	for (i = 0; opt && i < opt->n_metadata; i++)
		add(&h, opt->metadata[i][0], opt->metadata[i][1]);

	stream = nghttp2_submit_request(c->http2, NULL, h.nv, h.n, &queue, call);
	if (stream == NGHTTP2_ERR_NOMEM)
		return lx_err_oom(err);
	if (stream == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE)
		return -EAGAIN;
	if (stream < 0)
		return lx_err_set(err, LX_UNAVAILABLE, "%s: cannot begin: %s", call->path,
				  nghttp2_strerror(stream));
	call->stream = stream;
	lx_conn_kick(c);
	return 0;
}

void lx_http2_respond(struct lx_call *call)
{
	struct headers h = { .n = 0 };
	bool status_only = call->ending && !lx_call_tx_len(call);
	char code[8];

	add(&h, ":status", "200");
	add(&h, "content-type", "application/grpc");
	if (status_only)
		add_status(&h, call, code);
	call->headers_sent = true;
	broken(call, nghttp2_submit_response(call->conn->http2, call->stream, h.nv, h.n,
					     status_only ? NULL : &queue));
	lx_conn_kick(call->conn);
}

void lx_http2_refuse(struct lx_call *call, const char *status)
{
	struct headers h = { .n = 0 };

	add(&h, ":status", status);
	call->headers_sent = true;
	call->ending = true;
	broken(call, nghttp2_submit_response(call->conn->http2, call->stream, h.nv, h.n, NULL));
	lx_conn_kick(call->conn);
}

void lx_http2_resume(struct lx_call *call)
{
	if (call->idle) {
		call->idle = false;
		nghttp2_session_resume_data(call->conn->http2, call->stream);
	}
	lx_conn_kick(call->conn);
}

void lx_http2_leave(struct lx_call *call)
{
	nghttp2_session *session = call->conn->http2;

	if (!call->stream)
		return;
	if (!nghttp2_session_get_stream_local_close(session, call->stream)) {
		lx_http2_reset(call, NGHTTP2_NO_ERROR);
		return;
	}
	nghttp2_session_set_stream_user_data(session, call->stream, NULL);
	call->stream = 0;
}

void lx_http2_reset(struct lx_call *call, uint32_t code)
{
	struct lx_conn *c = call->conn;

	if (!call->stream)
		return;
	nghttp2_session_set_stream_user_data(c->http2, call->stream, NULL);
	nghttp2_submit_rst_stream(c->http2, NGHTTP2_FLAG_NONE, call->stream, code);
	call->stream = 0;
	lx_conn_kick(c);
}
