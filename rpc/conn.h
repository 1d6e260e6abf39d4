/*
 * One connection: a libuv stream, a transport (plain or TLS) and an HTTP/2 session.
 * Servers and channels share it; what differs is behind `struct lx_conn_owner`.
 *
 *   conn.c        the stream: reading, coalesced writing, the end     conn_timer.c  its one timer
 *   http2.c       the nghttp2 session and its callbacks               call*.c       what runs on it
 *   transport_plain.c, transport_tls.c                                between stream and session
 *
 *      DIALING ----> HANDSHAKE ----> OPEN
 *         |              |            |
 *         +--------------+------------+----> LINGER ----> CLOSED ----> freed
 *
 *   DIALING    client only: name look-up and connect
 *   HANDSHAKE  TLS, then until the peer's SETTINGS arrive
 *   OPEN       ready
 *   LINGER     everything was said and our side is shut; what the peer still sends is thrown
 *              away, so that a TCP reset does not eat our last words (an alert, a GOAWAY)
 *   CLOSED     the handles are closing
 *
 * All work that may call users or free things happens in the connection's turn, an idle
 * handle started by lx_conn_kick(): once per loop iteration at most, after all input of
 * that iteration was read, hence also the coalescing of writes. An active idle handle keeps
 * the loop from sleeping, so a kick from anywhere is served before the next wait.
 *
 * A connection ends through lx_conn_fail(), callable from anywhere: it records the
 * reason; the turn then tells the owner and every call, and closes.
 */
#ifndef LX_RPC_CONN_H
#define LX_RPC_CONN_H

#include <nghttp2/nghttp2.h>

#include "lib/buf.h"
#include "lib/list.h"
#include "rpc/rpc.h"

/* Bytes read from a socket at once. */
#define LX_CONN_READ 65536u
/* Bytes of output made before the socket must take some. */
#define LX_CONN_OUT (64u << 10)
/* How long a closing connection waits for the peer. */
#define LX_CONN_LINGER_MS 1000u
/* Bytes of partly arrived messages and of messages for paused calls on one connection.
 * Below it a paused call does not slow the others; above, the window of the connection closes. */
#define LX_CONN_HELD (16u << 20)
/* Bytes of partly arrived messages on one connection; a call that brings more is refused. */
#define LX_CONN_PARTIAL (64u << 20)
/* Bytes queued to one client that does not take them; a call that adds more is ended. */
#define LX_CONN_QUEUED (64u << 20)
/* RST_STREAM frames a client may send in every second for long. */
#define LX_CONN_RESETS 200u
/* PING, SETTINGS, PRIORITY and RST_STREAM frames, and DATA without data, in one second. */
#define LX_CONN_CONTROL_FRAMES 1000u

#define LX_HTTP2_FRAME_HEAD 9u

struct lx_conn;
struct lx_call;
struct lx_tls;

struct lx_conn_owner {
	/* Client: the first turn; connect it and lx_conn_start() it. */
	void (*connect)(struct lx_conn *c);
	/* The peer's SETTINGS arrived. */
	void (*ready)(struct lx_conn *c);
	/* Server: the headers of a new call are complete. */
	void (*request)(struct lx_call *call);
	/* Server: how a call that `request` was told of ends, once for each. May be NULL. */
	void (*outcome)(struct lx_call *call, const struct lx_err *err);
	/* Client: the error that the peer has answered a call with, before the caller hears it. May be NULL.
	 */
	void (*answered)(struct lx_conn *c, struct lx_err *err);
	/* The peer takes no new calls. */
	void (*goaway)(struct lx_conn *c);
	/* It is over; its calls will be told next. */
	void (*ended)(struct lx_conn *c, const struct lx_err *err);
	/* The last word: memory goes now. */
	void (*freed)(struct lx_conn *c);
};

enum lx_conn_state { LX_CONN_DIALING, LX_CONN_HANDSHAKE, LX_CONN_OPEN, LX_CONN_LINGER, LX_CONN_CLOSED };

/*
 * Between the stream and HTTP/2. Functions return 0 or negative errno with err filled.
 * `wrap` turns plain bytes into bytes for the wire (c->wire); NULL: they are the same.
 */
struct lx_transport {
	int (*start)(struct lx_conn *c, struct lx_err *err);
	int (*receive)(struct lx_conn *c, const uint8_t *data, size_t len, struct lx_err *err);
	int (*wrap)(struct lx_conn *c, const uint8_t *data, size_t len, struct lx_err *err);
	void (*finish)(struct lx_conn *c); /* last words into c->wire; may be NULL */
	void (*release)(struct lx_conn *c);
};

extern const struct lx_transport lx_transport_plain;
extern const struct lx_transport lx_transport_tls;

TAILQ_HEAD(lx_call_list, lx_call);

struct lx_conn {
	uv_loop_t *loop;
	const struct lx_conn_owner *owner;
	void *owner_data; /* struct lx_server or struct lx_channel */
	TAILQ_ENTRY(lx_conn) in_owner;
	TAILQ_ENTRY(lx_conn) in_unproven;
	bool unproven; /* server: nobody knows yet, or ever, who it is; in the server's list of those */
	bool server;
	enum lx_conn_state state;

	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_pipe_t pipe;
		uv_tcp_t tcp;
	} io;
	uv_idle_t turn;
	uv_timer_t timer;
	unsigned handles; /* open ones, and requests under way; at 0 it is freed */
	bool io_open;
	struct lx_dial *dial; /* client: of dial.c */

	const struct lx_transport *transport;
	const struct lx_tls *tls_context; /* identity and trust; NULL: plain */
	struct lx_tls_session *tls;       /* of transport_tls.c */
	bool secured;                     /* the transport carries HTTP/2 now */

	nghttp2_session *http2;
	struct lx_err *why_http2; /* what HTTP/2 had to complain about, or NULL */
	bool settings_seen;
	bool draining; /* no new calls; closed when the last one is gone */

	struct lx_call_list calls;     /* all of them */
	struct lx_call_list due;       /* those with something to tell their user */
	struct lx_call_list deadlines; /* those with a deadline, earliest first */

	struct lx_buf *out;     /* where lx_http2_output() collects, during it */
	struct lx_buf wire;     /* ready to be written */
	struct lx_buf inflight; /* being written by `write` */
	uv_write_t write;
	uv_shutdown_t shutdown;
	bool writing;
	bool write_failed;
	bool read_ended;

	size_t held;    /* bytes waiting in paused calls */
	size_t owed;    /* of these, not yet given back to the connection's window */
	size_t partial; /* bytes of messages that are not complete */
	size_t queued;  /* bytes in the send queues of its calls */

	uint64_t give_up_ms; /* loop time at which it fails unless cleared; 0: never */
	bool keepalive;
	uint64_t heard_ms; /* loop time of the last input */
	uint64_t ping_ms;  /* loop time of an unanswered PING, or 0 */
	bool ping_late;    /* its time was up once */
	uint64_t second;   /* the second control frames are counted in */
	unsigned control_frames;

	bool failed;
	struct lx_err *why; /* set with `failed` */
	struct lx_peer peer;
	char address[64];
	const char *name;      /* for messages: a channel's target or a client's address */
	const char *authority; /* client: what requests are addressed to */
};

/* conn.c */
/*
 * `tls`: what lx_transport_tls works with; NULL for the plain one. `target`: of a channel, borrowed;
 * NULL makes it a server's.
 */
int lx_conn_create(uv_loop_t *loop, const struct lx_conn_owner *owner, void *owner_data,
		   const struct lx_transport *transport, const struct lx_tls *tls, const char *target,
		   struct lx_conn **ret, struct lx_err *err);
/* The stream is connected: begins the handshake. Failures come through the owner's `ended`. */
void lx_conn_start(struct lx_conn *c);
/* Something is to be sent or told: run a turn. */
void lx_conn_kick(struct lx_conn *c);
/* Ends it, from anywhere. The first reason stays. */
void lx_conn_fail(struct lx_conn *c, const struct lx_err *err);
/* No new calls; it ends when the last one is gone. */
void lx_conn_drain(struct lx_conn *c);
/* It ends at the latest in that time. */
void lx_conn_give_up_in(struct lx_conn *c, uint64_t ms);
/* Counts down `handles`; for handles and requests of others on this connection. */
void lx_conn_unref(struct lx_conn *c);
/* A copy on the heap, or a static "out of memory". Release with lx_err_drop(). */
struct lx_err *lx_err_keep(const struct lx_err *err);
void lx_err_drop(struct lx_err *err);

/* conn_timer.c */
void lx_conn_on_timer(uv_timer_t *timer);
/* Makes the timer fire for whatever comes first. */
void lx_conn_rearm(struct lx_conn *c);
/* Puts a call into the order of deadlines. */
void lx_conn_add_deadline(struct lx_conn *c, struct lx_call *call);

/* dial.c */
/* Connects to the target and starts the connection, or fails it. */
void lx_dial(struct lx_conn *c);
void lx_dial_free(struct lx_dial *d);
/* Checks a target's form. */
int lx_dial_check(const char *target, bool tls, struct lx_err *err);

/* http2.c */
void lx_http2_ping(struct lx_conn *c);
int lx_http2_create(struct lx_conn *c, struct lx_err *err);
void lx_http2_release(struct lx_conn *c);
/* Plain bytes from the peer. */
int lx_http2_input(struct lx_conn *c, const uint8_t *data, size_t len, struct lx_err *err);
/* Appends frames to `out` until there is nothing more or it has LX_CONN_OUT bytes. */
int lx_http2_output(struct lx_conn *c, struct lx_buf *out, struct lx_err *err);
/* Says that no new streams are taken. */
void lx_http2_goaway(struct lx_conn *c);
/* True when the session has nothing more to read or write. */
bool lx_http2_over(const struct lx_conn *c);
/* Bytes of flow control: see `held` and `owed`. */
void lx_http2_settle(struct lx_conn *c);

/* peer.c */
/* Fills c->peer from the socket. */
int lx_peer_from_socket(struct lx_conn *c, struct lx_err *err);
void lx_peer_release(struct lx_peer *p);

#endif
