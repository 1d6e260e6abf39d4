/*
 * One call, on either side of a connection.
 *
 *   call.c          life: events, the end, deadlines    call_send.c     queue, status, half-close
 *   call_receive.c  messages, pausing                   call_headers.c  headers in
 *   call_start.c    client: beginning one
 *
 * The end has two halves. `finished` means the outcome is known (call->err) and `closed`
 * is due; `stream` is 0 when HTTP/2 knows nothing of the call any more. A call is freed
 * when its user was told and its stream is gone: a server's call whose status is still
 * on its way to the network outlives its user.
 *
 * Users are called from two places: messages and half-close as the bytes come in, all
 * else (writable, closed, what was held back by a pause) in the connection's turn.
 */
#ifndef LX_RPC_CALL_H
#define LX_RPC_CALL_H

#include "rpc/conn.h"
#include "rpc/framing.h"
#include "rpc/metadata.h"
#include "rpc/unpack.h"

/* Headers a call may set itself, request metadata or trailers. */
#define LX_CALL_MAX_OWN_HEADERS 32u
/* Longer timeouts (some 30 years) are none. */
#define LX_CALL_MAX_TIMEOUT_MS (UINT64_C(1) << 40)
/* A call that was asked to wait may go on when this little is queued. */
#define LX_CALL_LOW_WATER (LX_RPC_SEND_HIGH_WATER / 4)

struct lx_call {
	struct lx_conn *conn;
	TAILQ_ENTRY(lx_call) in_conn;
	TAILQ_ENTRY(lx_call) in_due;
	TAILQ_ENTRY(lx_call) in_deadlines;
	int32_t stream;

	bool server;
	bool raw;
	bool is_due, has_deadline; /* in conn->due, in conn->deadlines */

	/* Out. */
	struct lx_buf tx; /* framed messages; those before tx_off are sent */
	size_t tx_off;
	bool headers_sent; /* server: the response has begun */
	bool idle;         /* HTTP/2 waits for us to have data */
	bool full;         /* send returned 1, `writable` is owed */
	bool ending;       /* server: status is set; client: half-closed */
	bool status_sent;  /* server: handed to the network */
	enum lx_code status;
	struct lx_metadata trailers;

	/* In. */
	struct lx_framer rx;
	struct lx_buf held; /* bytes not looked at: paused */
	size_t partial;     /* what rx holds, as counted in conn->partial */
	bool paused;
	bool remote_end;  /* END_STREAM arrived */
	bool remote_told; /* and was acted upon */
	struct lx_metadata metadata;
	size_t header_bytes;
	bool headers_done;
	bool headers_big, bad_timeout, is_post, is_grpc;
	bool has_status;
	int http_status;

	/* The end. */
	bool finished, told;
	bool witnessed;    /* server: its outcome is owed to the connection's owner */
	void *note;        /* the witness's own */
	struct lx_err err; /* client: filled from the trailers before `finished` */

	const struct lx_call_events *events;
	void *arg;
	char *path;
	uint64_t deadline_ns;

	/* Server: what is called. Client: the type of answers. */
	const struct lx_method *method;
	void *method_arg;
	const ProtobufCMessageDescriptor *incoming;
	struct lx_unpacked kept; /* the request or answer of a unary call, until its end */
	lx_unary_cb unary;       /* client */
};

/* call.c */
struct lx_call *lx_call_new(struct lx_conn *c, bool server);
/* For calls nobody knows of; all others end by being told. */
void lx_call_free(struct lx_call *call);
/* Puts it among those with something to tell. */
void lx_call_due(struct lx_call *call);
/* In the turn: tells what is due, frees the call when that was the last. */
void lx_call_tell(struct lx_call *call);
/* Tells the owner of a server's connection the outcome, unless it knows; NULL is success. */
void lx_call_witness(struct lx_call *call, const struct lx_err *err);
/* The outcome is known; NULL is success. First one counts. */
void lx_call_finish(struct lx_call *call, const struct lx_err *err);
/* This library ends the call: the peer is told the error too. */
void lx_call_abort(struct lx_call *call, const struct lx_err *err);
/* The same, formatted. */
void lx_call_abortf(struct lx_call *call, enum lx_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* server.c: the request of a unary call is whole; negative, with err filled: it is refused. */
int lx_server_admit(struct lx_call *call, const ProtobufCMessage *req, struct lx_err *err);
/* HTTP/2: the stream is gone. */
void lx_call_on_stream_close(struct lx_call *call, uint32_t code);
/* The connection is gone. */
void lx_call_on_conn_end(struct lx_call *call, const struct lx_err *err);

/* call_send.c */
size_t lx_call_tx_len(const struct lx_call *call);
/* Copies `n` queued bytes to `out` and drops them. */
int lx_call_tx_take(struct lx_call *call, size_t n, struct lx_buf *out);
void lx_call_tx_drop(struct lx_call *call);
/* Sets status and texts that go into the trailers. err NULL is success. */
void lx_call_set_status(struct lx_call *call, const struct lx_err *err);

/* call_receive.c */
void lx_call_on_data(struct lx_call *call, const uint8_t *data, size_t len);
/* END_STREAM; what is held comes first. */
void lx_call_on_remote_end(struct lx_call *call);
/* Goes on with what is held. */
void lx_call_deliver(struct lx_call *call);
void lx_call_drop_held(struct lx_call *call);

/* call_headers.c */
void lx_call_on_header(struct lx_call *call, const char *name, size_t name_len, const char *value,
		       size_t value_len);
/* Client: the first headers are complete. Ends the call when they are not those of gRPC. */
void lx_call_on_response(struct lx_call *call);
/* Client: turns trailers and HTTP status into call->err. */
void lx_call_settle_status(struct lx_call *call);

/* http2_call.c: the frames of one call */
/* -EAGAIN: the connection has no stream numbers left (err is not filled). */
int lx_http2_request(struct lx_call *call, const struct lx_call_options *opt, struct lx_err *err);
/* Begins the response, or sends the status alone when there is nothing else. */
void lx_http2_respond(struct lx_call *call);
/* Answers with a bare HTTP status (what is not gRPC). */
void lx_http2_refuse(struct lx_call *call, const char *status);
/* There is data or the end to send. */
void lx_http2_resume(struct lx_call *call);
/* RST_STREAM, and the stream forgets the call. */
void lx_http2_reset(struct lx_call *call, uint32_t code);
/* Client: the answer is complete; the rest of the request, if any, is not wanted. */
void lx_http2_leave(struct lx_call *call);

#endif
