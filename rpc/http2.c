/*
 * The nghttp2 session of a connection: settings, limits, and the way from its callbacks
 * to calls. What a call sends is in http2_call.c.
 *
 * Happy path: input makes nghttp2 call us with headers, data and ends of streams, which
 * go to the call kept as the stream's user data; output is collected frame by frame, the
 * bytes of messages copied once, from the call's queue.
 * Ways to fail: nghttp2 refuses what breaks HTTP/2 (it queues a GOAWAY or RST_STREAM on its
 * own; the reason is kept in why_http2); a peer that floods us with frames that cost more to
 * handle than to send is sent away with ENHANCE_YOUR_CALM.
 *
 * Flow control is ours: the window of a stream opens as its bytes are looked at (a
 * paused call looks at none), the window of the connection as they arrive, until too
 * many bytes are held for paused calls.
 */
#include <errno.h>
#include <string.h>

#include "rpc/call.h"
#include "rpc/conn.h"

static void complain(struct lx_conn *c, const char *what)
{
	struct lx_err err;

	if (c->why_http2)
		return;
	lx_err_set(&err, LX_UNAVAILABLE, "%s does not speak HTTP/2 as it should: %s", c->name, what);
	c->why_http2 = lx_err_keep(&err);
}

/* ------------------------------------------------------------------ callbacks */

static struct lx_call *call_of(nghttp2_session *session, int32_t stream)
{
	return stream ? nghttp2_session_get_stream_user_data(session, stream) : NULL;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct lx_conn *c = arg;
	struct lx_call *call;

	if (!c->server || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	call = lx_call_new(c, true);
	if (!call)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	call->stream = frame->hd.stream_id;
	nghttp2_session_set_stream_user_data(session, call->stream, call);
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct lx_call *call = call_of(session, frame->hd.stream_id);

	if (call)
		lx_call_on_header(call, (const char *)name, name_len, (const char *)value, value_len);
	return 0;
}

/* Frames that are cheap to send and lead nowhere; a peer that means well sends few. */
static bool is_control(const nghttp2_frame *frame)
{
	switch (frame->hd.type) {
	case NGHTTP2_PING:
	case NGHTTP2_SETTINGS:
	case NGHTTP2_PRIORITY:
	case NGHTTP2_RST_STREAM:
		return true;
	case NGHTTP2_DATA:
		return frame->hd.length == 0 && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
	default:
		return false;
	}
}

static void count_control(struct lx_conn *c)
{
	uint64_t second = uv_now(c->loop) / 1000;

	if (second != c->second) {
		c->second = second;
		c->control_frames = 0;
	}
	if (++c->control_frames != LX_CONN_CONTROL_FRAMES)
		return;
	complain(c, "too many control frames");
	nghttp2_session_terminate_session(c->http2, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void on_goaway(struct lx_conn *c, const nghttp2_goaway *frame)
{
	struct lx_err err;

	if (c->server || c->draining)
		return;
	if (frame->error_code != NGHTTP2_NO_ERROR && !c->why_http2) {
		lx_err_set(&err, LX_UNAVAILABLE, "%s ended the connection: %s%s%.*s", c->name,
			   nghttp2_http2_strerror(frame->error_code), frame->opaque_data_len ? ": " : "",
			   (int)(frame->opaque_data_len < 200 ? frame->opaque_data_len : 200),
			   frame->opaque_data ? (const char *)frame->opaque_data : "");
		c->why_http2 = lx_err_keep(&err);
	}
	c->owner->goaway(c);
	lx_conn_drain(c);
}

static void on_settings(struct lx_conn *c)
{
	if (c->settings_seen)
		return;
	c->settings_seen = true;
	c->state = LX_CONN_OPEN;
	c->give_up_ms = 0;
	lx_conn_rearm(c);
	c->owner->ready(c);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct lx_conn *c = arg;
	struct lx_call *call;

	if (is_control(frame))
		count_control(c);
	switch (frame->hd.type) {
	case NGHTTP2_SETTINGS:
		if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
			on_settings(c);
		break;
	case NGHTTP2_GOAWAY:
		on_goaway(c, &frame->goaway);
		break;
	case NGHTTP2_HEADERS:
		call = call_of(session, frame->hd.stream_id);
		if (call && !call->headers_done) {
			call->headers_done = true;
			if (c->server)
				c->owner->request(call);
			else
				lx_call_on_response(call);
		}
		break;
	default:
		break;
	}
	if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) {
		/* Asked again: the owner may have ended the call. */
		call = call_of(session, frame->hd.stream_id);
		if (call && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
			lx_call_on_remote_end(call);
	}
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t len,
		   void *arg)
{
	struct lx_conn *c = arg;
	struct lx_call *call = call_of(session, stream);

	c->owed += len;
	if (call)
		lx_call_on_data(call, data, len);
	else
		nghttp2_session_consume_stream(session, stream, len);
	lx_http2_settle(c);
	return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct lx_conn *c = arg;
	struct lx_call *call;

	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
		complain(c, nghttp2_http2_strerror(frame->goaway.error_code));
	if (!c->server || frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	call = call_of(session, frame->hd.stream_id);
	if (!call)
		return 0;
	call->status_sent = true;
	lx_call_finish(call, NULL);
	/* The client need not finish a request that has its answer. */
	if (!call->remote_end)
		nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_NO_ERROR);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *arg)
{
	struct lx_call *call = call_of(session, stream);

	if (call)
		lx_call_on_stream_close(call, code);
	return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
	complain(arg, nghttp2_strerror(error));
	return 0;
}

/* nghttp2 has framed the head of a DATA frame; head and bytes go out together. */
static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
			nghttp2_data_source *source, void *arg)
{
	struct lx_conn *c = arg;
	struct lx_call *call = call_of(session, frame->hd.stream_id);
	struct lx_buf *out = c->out;

	if (!call)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (lx_buf_reserve(out, LX_HTTP2_FRAME_HEAD + length) < 0 ||
	    lx_buf_append(out, head, LX_HTTP2_FRAME_HEAD) < 0 || lx_call_tx_take(call, length, out) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	/* Sent, and enough for now. Holding the frame back instead would need its bytes kept. */
	return out->len >= LX_CONN_OUT ? NGHTTP2_ERR_PAUSE : 0;
}

/* ------------------------------------------------------------------ the session */

static int submit_start(struct lx_conn *c)
{
	nghttp2_settings_entry server[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LX_RPC_MAX_CALLS },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LX_RPC_STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LX_RPC_MAX_METADATA },
	};
	nghttp2_settings_entry client[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LX_RPC_STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LX_RPC_MAX_METADATA },
	};
	int r;

	if (c->server)
		r = nghttp2_submit_settings(c->http2, NGHTTP2_FLAG_NONE, server, 3);
	else
		r = nghttp2_submit_settings(c->http2, NGHTTP2_FLAG_NONE, client, 3);
	if (r)
		return r;
	return nghttp2_session_set_local_window_size(c->http2, NGHTTP2_FLAG_NONE, 0, LX_RPC_CONN_WINDOW);
}

int lx_http2_create(struct lx_conn *c, struct lx_err *err)
{
	nghttp2_session_callbacks *cbs = NULL;
	nghttp2_option *opt = NULL;
	int r;

	r = nghttp2_session_callbacks_new(&cbs);
	if (!r)
		r = nghttp2_option_new(&opt);
	if (!r) {
		nghttp2_option_set_no_auto_window_update(opt, 1);
		nghttp2_option_set_no_closed_streams(opt, 1);
		nghttp2_option_set_max_outbound_ack(opt, LX_CONN_CONTROL_FRAMES);
		nghttp2_option_set_stream_reset_rate_limit(opt, LX_CONN_CONTROL_FRAMES, LX_CONN_RESETS);
		nghttp2_session_callbacks_set_on_begin_headers_callback(cbs, on_begin_headers);
		nghttp2_session_callbacks_set_on_header_callback(cbs, on_header);
		nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, on_frame_recv);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, on_data);
		nghttp2_session_callbacks_set_on_frame_send_callback(cbs, on_frame_send);
		nghttp2_session_callbacks_set_on_stream_close_callback(cbs, on_stream_close);
		nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cbs, on_invalid_frame);
		nghttp2_session_callbacks_set_send_data_callback(cbs, on_send_data);
		if (c->server)
			r = nghttp2_session_server_new2(&c->http2, cbs, c, opt);
		else
			r = nghttp2_session_client_new2(&c->http2, cbs, c, opt);
	}
	if (!r)
		r = submit_start(c);
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cbs);
	if (!r)
		return 0;
	nghttp2_session_del(c->http2);
	c->http2 = NULL;
	if (r == NGHTTP2_ERR_NOMEM)
		return lx_err_oom(err);
	return lx_err_set(err, LX_INTERNAL, "cannot begin HTTP/2: %s", nghttp2_strerror(r));
}

void lx_http2_release(struct lx_conn *c)
{
	nghttp2_session_del(c->http2);
	c->http2 = NULL;
}

int lx_http2_input(struct lx_conn *c, const uint8_t *data, size_t len, struct lx_err *err)
{
	ssize_t n = nghttp2_session_mem_recv(c->http2, data, len);

	if (n >= 0)
		return 0;
	if (n == NGHTTP2_ERR_NOMEM)
		return lx_err_oom(err);
	return lx_err_set(err, LX_UNAVAILABLE, "%s does not speak HTTP/2 as it should: %s", c->name,
			  nghttp2_strerror((int)n));
}

int lx_http2_output(struct lx_conn *c, struct lx_buf *out, struct lx_err *err)
{
	const uint8_t *data;
	ssize_t n = 0;

	size_t room = c->queued < LX_CONN_OUT ? c->queued : LX_CONN_OUT;

	if (!nghttp2_session_want_write(c->http2))
		return 0;
	if (lx_buf_reserve(out, room + 512) < 0)
		return lx_err_oom(err);
	c->out = out;
	while (out->len < LX_CONN_OUT) {
		n = nghttp2_session_mem_send(c->http2, &data);
		if (n <= 0)
			break;
		if (lx_buf_append(out, data, (size_t)n) < 0)
			return lx_err_oom(err);
	}
	c->out = NULL;
	if (n < 0)
		return lx_err_set(err, LX_UNAVAILABLE, "cannot send to %s: %s", c->name,
				  nghttp2_strerror((int)n));
	return 0;
}

void lx_http2_settle(struct lx_conn *c)
{
	size_t keep = c->held > LX_CONN_HELD ? c->held - LX_CONN_HELD : 0;

	if (!c->http2 || c->owed <= keep)
		return;
	nghttp2_session_consume_connection(c->http2, c->owed - keep);
	c->owed = keep;
}

void lx_http2_goaway(struct lx_conn *c)
{
	nghttp2_submit_goaway(c->http2, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->http2),
			      NGHTTP2_NO_ERROR, NULL, 0);
	lx_conn_kick(c);
}

void lx_http2_ping(struct lx_conn *c)
{
	nghttp2_submit_ping(c->http2, NGHTTP2_FLAG_NONE, NULL);
}

bool lx_http2_over(const struct lx_conn *c)
{
	return !nghttp2_session_want_read(c->http2) && !nghttp2_session_want_write(c->http2);
}
