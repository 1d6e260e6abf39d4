/*
 * What a call sends: messages into its queue, and its end.
 *
 * Happy path: a message is packed straight into the queue behind its five-byte head; HTTP/2
 * takes the queue away as the peer's windows allow. Over the high water the sender is asked
 * to wait until `writable`.
 * Ways to fail: a message over the limit, no memory, a client that lets too much pile up. All
 * of them end the call, with a status that says so.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "rpc/call.h"

size_t lx_call_tx_len(const struct lx_call *call)
{
	return call->tx.len - call->tx_off;
}

void lx_call_tx_drop(struct lx_call *call)
{
	call->conn->queued -= lx_call_tx_len(call);
	lx_buf_release(&call->tx);
	call->tx_off = 0;
}

int lx_call_tx_take(struct lx_call *call, size_t n, struct lx_buf *out)
{
	if (lx_buf_append(out, call->tx.data + call->tx_off, n) < 0)
		return -ENOMEM;
	call->tx_off += n;
	call->conn->queued -= n;
	if (call->tx_off == call->tx.len) {
		lx_buf_release(&call->tx);
		call->tx_off = 0;
	}
	if (call->full && lx_call_tx_len(call) <= LX_CALL_LOW_WATER)
		lx_call_due(call);
	return 0;
}

/* Room for a message of `size` bytes, its head written; NULL when the call has ended over it. */
static uint8_t *queue_message(struct lx_call *call, size_t size, int *r)
{
	uint8_t *at;

	if (call->finished || call->ending) {
		*r = -EPIPE;
		return NULL;
	}
	if (size > LX_RPC_MAX_MESSAGE) {
		lx_call_abortf(call, LX_RESOURCE_EXHAUSTED,
			       "%s: a message to send has %zu bytes, the limit is %u", call->path, size,
			       LX_RPC_MAX_MESSAGE);
		*r = -EMSGSIZE;
		return NULL;
	}
	if (call->server && call->conn->queued + size > LX_CONN_QUEUED) {
		lx_call_abortf(call, LX_RESOURCE_EXHAUSTED,
			       "%s: the client does not take what it asked for: %zu bytes are waiting",
			       call->path, call->conn->queued);
		*r = -ENOBUFS;
		return NULL;
	}
	/* The sent part goes when it is the larger one: each byte is moved once at most. */
	if (call->tx_off > call->tx.len / 2) {
		lx_buf_consume(&call->tx, call->tx_off);
		call->tx_off = 0;
	}
	if (lx_buf_reserve(&call->tx, LX_FRAME_HEAD + size) < 0) {
		lx_call_abortf(call, LX_RESOURCE_EXHAUSTED, "%s: out of memory", call->path);
		*r = -ENOMEM;
		return NULL;
	}
	at = call->tx.data + call->tx.len;
	lx_frame_head(at, (uint32_t)size);
	return at + LX_FRAME_HEAD;
}

static int queued_message(struct lx_call *call, size_t size)
{
	call->tx.len += LX_FRAME_HEAD + size;
	call->conn->queued += LX_FRAME_HEAD + size;
	if (lx_call_tx_len(call) <= LX_RPC_SEND_HIGH_WATER)
		return 0;
	call->full = true;
	return 1;
}

/* HTTP/2 hears of it. */
static void push(struct lx_call *call)
{
	if (call->server && !call->headers_sent)
		lx_http2_respond(call);
	else
		lx_http2_resume(call);
}

static int send_packed(struct lx_call *call, const ProtobufCMessage *msg)
{
	size_t size = protobuf_c_message_get_packed_size(msg);
	int r = 0;
	uint8_t *at = queue_message(call, size, &r);

	if (!at)
		return r;
	protobuf_c_message_pack(msg, at);
	return queued_message(call, size);
}

static int send_bytes(struct lx_call *call, struct lx_bytes msg)
{
	int r = 0;
	uint8_t *at = queue_message(call, msg.len, &r);

	if (!at)
		return r;
	if (msg.len)
		memcpy(at, msg.data, msg.len);
	return queued_message(call, msg.len);
}

int lx_call_send(struct lx_call *call, const ProtobufCMessage *msg)
{
	int r = send_packed(call, msg);

	if (r >= 0)
		push(call);
	return r;
}

int lx_call_send_bytes(struct lx_call *call, struct lx_bytes msg)
{
	int r = send_bytes(call, msg);

	if (r >= 0)
		push(call);
	return r;
}

/* ------------------------------------------------------------------ the end */

static void add_text(struct lx_call *call, const char *name, const char *text)
{
	lx_autobuf struct lx_buf coded = { 0 };

	/* Out of memory: the code alone has to do. */
	if (*text && lx_percent_encode(text, &coded) == 0)
		(void)lx_rpc_metadata_add(&call->trailers, name, strlen(name), lx_buf_str(&coded), coded.len);
}

void lx_call_set_status(struct lx_call *call, const struct lx_err *err)
{
	lx_call_witness(call, err);
	call->ending = true;
	if (err && err->code != LX_OK) {
		call->status = err->code;
		add_text(call, "grpc-message", err->msg);
		add_text(call, "lxmgr-hint", err->hint);
	}
	if (call->stream)
		push(call);
}

void lx_call_fail(struct lx_call *call, const struct lx_err *err)
{
	if (!call->finished && !call->ending)
		lx_call_set_status(call, err);
}

void lx_call_failf(struct lx_call *call, enum lx_code code, const char *fmt, ...)
{
	struct lx_err err = LX_ERR_INIT;
	va_list ap;

	va_start(ap, fmt);
	lx_err_vset(&err, code, fmt, ap);
	va_end(ap);
	lx_call_fail(call, &err);
}

/* The response is not begun before its end is known: one frame of headers less to send
 * when the message was refused. */
void lx_call_reply(struct lx_call *call, const ProtobufCMessage *msg)
{
	if (send_packed(call, msg) >= 0)
		lx_call_set_status(call, NULL);
}

void lx_call_reply_bytes(struct lx_call *call, struct lx_bytes msg)
{
	if (send_bytes(call, msg) >= 0)
		lx_call_set_status(call, NULL);
}

int lx_call_set_trailer(struct lx_call *call, const char *name, const char *value)
{
	if (call->finished || call->ending)
		return -EPIPE;
	if (call->trailers.count >= LX_CALL_MAX_OWN_HEADERS)
		return -E2BIG;
	if (lx_rpc_metadata_check(name, value, NULL) < 0)
		return -EINVAL;
	return lx_rpc_metadata_add(&call->trailers, name, strlen(name), value, strlen(value));
}

void lx_call_half_close(struct lx_call *call)
{
	if (call->server || call->finished || call->ending)
		return;
	call->ending = true;
	lx_http2_resume(call);
}
