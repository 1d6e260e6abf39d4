/*
 * gRPC on one libuv loop: protobuf messages over HTTP/2.
 *
 * The wire is the one described in
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md (length-prefixed
 * messages, grpc-timeout, grpc-status and grpc-message trailers); nghttp2 does
 * HTTP/2, OpenSSL TLS 1.3 with ALPN "h2", protobuf-c the messages. A unix socket
 * carries HTTP/2 with prior knowledge and no TLS; the kernel says who the peer is.
 *
 * Who owns what
 *   A server, a channel and a call belong to the loop they were made on and are
 *   used from its thread only. A call is owned by this library; the pointer is
 *   valid until its `closed` callback returned. `closed` comes exactly once for
 *   every call, is the last callback of that call, and never runs before the
 *   function that started the call (or the handler that got it) has returned.
 *
 * The hint of an error
 *   struct lx_err travels as grpc-status, grpc-message (percent-encoded) and,
 *   when there is a hint, the trailer "lxmgr-hint" (percent-encoded). A client
 *   that is not ours sees status and message.
 *
 * Back-pressure
 *   lx_call_send() always queues. When it returns 1, stop and go on when
 *   `writable` comes. A receiver that cannot take more calls lx_call_pause(): the
 *   HTTP/2 window then closes and the sender's `writable` stays away.
 */
#ifndef LX_RPC_RPC_H
#define LX_RPC_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <protobuf-c/protobuf-c.h>
#include <uv.h>

#include "lib/err.h"

/* Limits on what comes from outside. A message over the limit ends its call with
 * RESOURCE_EXHAUSTED; too many of the others end the connection. */
#define LX_RPC_MAX_MESSAGE     (4u << 20) /* bytes in one message */
#define LX_RPC_MAX_METADATA    16384u     /* bytes of headers in one call */
#define LX_RPC_MAX_CALLS       1024u      /* calls at once on one connection */
#define LX_RPC_MAX_CONNECTIONS 12000u     /* connections at once on one server */
#define LX_RPC_STREAM_WINDOW   (1u << 20) /* flow-control window of a stream */
#define LX_RPC_CONN_WINDOW     (4u << 20) /* and of a connection */
#define LX_RPC_SEND_HIGH_WATER (1u << 20) /* bytes queued in a call before send returns 1 */
#define LX_RPC_HANDSHAKE_MS    10000u     /* until TLS and the HTTP/2 preface are through */
#define LX_RPC_UNPROVEN_MS     30000u     /* life of a TLS connection that shows no certificate */
#define LX_RPC_MAX_UNPROVEN    1024u      /* of those, and of handshakes, at once: the oldest goes */
#define LX_RPC_KEEPALIVE_MS    10000u     /* idle time before a PING, and the wait for its answer */

struct lx_call;
struct lx_channel;
struct lx_server;

/* Who is at the other end of a connection. Strings are borrowed from the connection. */
struct lx_peer {
	enum { LX_PEER_UNIX, LX_PEER_TLS } kind;
	uid_t uid; /* unix: SO_PEERCRED */
	gid_t gid;
	pid_t pid;
	const char *address;     /* tls: "192.0.2.7:41312"; unix: "unix" */
	const char *common_name; /* tls: CN of the verified certificate, NULL when it showed none */
	const char *org_unit;    /* tls: OU of it ("agent", "manager", "client" ...), or NULL */
	const char *fingerprint; /* tls: hex SHA-256 of it, or NULL */
};

/* ------------------------------------------------------------------ messages */

/* A message as bytes, for proxies and caches that need not look inside. */
struct lx_bytes {
	const uint8_t *data;
	size_t len;
};

/* What a call tells its user. Every member may be NULL. */
struct lx_call_events {
	/*
	 * A message arrived; borrowed, freed when this returns: its memory is one block, copy
	 * what is to be kept (lx_pb_dup). A server's is valid UTF-8. Not for raw calls.
	 */
	void (*message)(struct lx_call *call, const ProtobufCMessage *msg, void *arg);
	/* The same for raw calls (methods with `raw` set, channels' lx_call_start_raw). */
	void (*bytes)(struct lx_call *call, struct lx_bytes msg, void *arg);
	/* Server: the client will send no more. */
	void (*half_closed)(struct lx_call *call, void *arg);
	/* The queue of lx_call_send has drained after it had returned 1. */
	void (*writable)(struct lx_call *call, void *arg);
	/*
	 * The end. `err->code` is LX_OK or says what failed. On a server: LX_OK when the
	 * status was handed to the network, LX_CANCELLED when the client or the connection
	 * went away or the deadline passed first (LX_DEADLINE_EXCEEDED).
	 */
	void (*closed)(struct lx_call *call, const struct lx_err *err, void *arg);
};

/* Queues a message. 0; 1 when queued but above the high water; negative errno when
 * the call has ended or memory is out (the call is then cancelled). */
int lx_call_send(struct lx_call *call, const ProtobufCMessage *msg);
int lx_call_send_bytes(struct lx_call *call, struct lx_bytes msg);

/* Stops and resumes delivery of messages (flow control reaches back to the sender). */
void lx_call_pause(struct lx_call *call);
void lx_call_resume(struct lx_call *call);

/* Sets the callbacks and their argument; servers do this in their handler. `events` is
 * borrowed until the call is closed (normally a static const). */
void lx_call_set_events(struct lx_call *call, const struct lx_call_events *events, void *arg);
void *lx_call_arg(const struct lx_call *call);

/* Metadata the other side sent (server: request headers; client: response headers and
 * trailers), by lower-case name; NULL when absent. Borrowed until closed. */
const char *lx_call_metadata(const struct lx_call *call, const char *name);
/* How often the other side sent one of that name. */
unsigned lx_call_metadata_count(const struct lx_call *call, const char *name);
const struct lx_peer *lx_call_peer(const struct lx_call *call);
/* Full method name, "/lxmgr.v1.InstanceService/List". */
const char *lx_call_method(const struct lx_call *call);
/* Monotonic ns (lx_now_monotonic_ns) at which the call times out; 0: never. */
uint64_t lx_call_deadline_ns(const struct lx_call *call);

/* ------------------------------------------------------------------ server */

/* How a method talks. `raw` leaves messages undecoded (events->bytes). */
struct lx_method {
	const char *name; /* "List": as in the .proto service */
	bool client_stream;
	bool server_stream;
	bool raw;
	/*
	 * Exactly one of the two.
	 * unary: no client_stream; the request is complete and valid. `req` is borrowed
	 * and freed when this returns. Answer now or later: lx_call_reply() or lx_call_fail(),
	 * for a server stream lx_call_send()* and then lx_call_fail(call, NULL) for success.
	 * open: client_stream; the call has begun. Set events, read, send.
	 */
	void (*unary)(struct lx_call *call, const ProtobufCMessage *req, void *arg);
	void (*open)(struct lx_call *call, void *arg);
};

struct lx_service {
	const ProtobufCServiceDescriptor *descriptor; /* names and types, from protoc-c */
	const struct lx_method *methods;              /* every method of the service, by name */
	size_t n_methods;
};

/* TLS identity and trust, as PEM text. Copied. */
struct lx_tls_config {
	const char *cert_pem; /* own certificate chain, or NULL for a client that has none yet */
	const char *key_pem;
	const char *ca_pem;             /* who signs peers; NULL only with expect_fingerprint */
	bool peer_cert_optional;        /* server: let clients without a certificate in (peer shows none) */
	const char *expect_fingerprint; /* client: hex SHA-256 of the CA certificate in the peer's
					 * chain; used before the CA is known (joining) */
	const char *expect_org_unit;    /* client: the peer certificate must have this OU */
	const char *expect_common_name; /* client: and this CN */
	const char *expect_peer;        /* client: and be this one, by its own hex SHA-256 */
};

/*
 * Decides about a call before its handler sees it (authorization, audit). 0 lets it in;
 * negative with `err` filled refuses it. May be NULL: everything is let in.
 */
typedef int (*lx_rpc_gate)(struct lx_call *call, void *arg, struct lx_err *err);

/*
 * Looks on at the calls of a server: for roles that depend on what is asked for, and for an
 * audit log. Members may be NULL.
 */
struct lx_rpc_witness {
	/* The whole and valid request of a unary method, before its handler has it. Negative, with
	 * `err` filled, refuses it. */
	int (*request)(struct lx_call *call, const ProtobufCMessage *req, void *arg, struct lx_err *err);
	/* Exactly once for every call that the gate has seen, when its outcome is known. */
	void (*ended)(struct lx_call *call, const struct lx_err *err, void *arg);
};

int lx_server_create(uv_loop_t *loop, struct lx_server **ret, struct lx_err *err);
/* Adds a service; `arg` goes to its handlers. Call before listening. Fails with -EINVAL when
 * the table and the descriptor disagree. */
int lx_server_add(struct lx_server *s, const struct lx_service *service, void *arg, struct lx_err *err);
void lx_server_set_gate(struct lx_server *s, lx_rpc_gate gate, void *arg);
/* `witness` is borrowed for the server's life. */
void lx_server_set_witness(struct lx_server *s, const struct lx_rpc_witness *witness, void *arg);
/* What the witness wants to know of a call; it frees it in `ended`. */
void lx_call_set_note(struct lx_call *call, void *note);
void *lx_call_note(const struct lx_call *call);
/* Serves grpc.reflection.v1alpha from a serialized google.protobuf.FileDescriptorSet
 * (protoc --include_imports --descriptor_set_out). Borrowed for the server's life. */
int lx_server_add_reflection(struct lx_server *s, const uint8_t *fds, size_t len, struct lx_err *err);
/* A stale socket file is replaced, a living one is -EADDRINUSE. `gid` (gid_t)-1: unchanged. */
int lx_server_listen_unix(struct lx_server *s, const char *path, mode_t mode, gid_t gid, struct lx_err *err);
/* "host:port", "[v6]:port", port 0 picks one (see lx_server_port). */
int lx_server_listen_tls(struct lx_server *s, const char *address, const struct lx_tls_config *tls,
			 struct lx_err *err);
int lx_server_port(const struct lx_server *s);
/* Ends the connections of a certificate that was revoked: its calls get UNAUTHENTICATED. */
void lx_server_drop_peer(struct lx_server *s, const char *fingerprint);
/* Rights have changed: asks the gate again about every open call, and ends those it refuses now. */
void lx_server_recheck(struct lx_server *s);
/* Stops listening, fails open calls with UNAVAILABLE, closes; `done` runs when all is gone
 * and `s` is freed. */
void lx_server_close(struct lx_server *s, void (*done)(void *arg), void *arg);

/* Ends a unary call with its one message. */
void lx_call_reply(struct lx_call *call, const ProtobufCMessage *msg);
void lx_call_reply_bytes(struct lx_call *call, struct lx_bytes msg);
/* Ends a call: err NULL or code LX_OK is success (after the messages queued before it). */
void lx_call_fail(struct lx_call *call, const struct lx_err *err);
/* The same with an error made on the spot. */
void lx_call_failf(struct lx_call *call, enum lx_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds a trailer (before the call is ended). */
int lx_call_set_trailer(struct lx_call *call, const char *name, const char *value);

/* ------------------------------------------------------------------ client */

enum lx_channel_state { LX_CHANNEL_IDLE, LX_CHANNEL_CONNECTING, LX_CHANNEL_READY, LX_CHANNEL_FAILED };

struct lx_channel_options {
	const struct lx_tls_config *tls; /* NULL for unix sockets */
	/* Told about every change of state, with the reason on FAILED. May be NULL. */
	void (*state)(struct lx_channel *ch, enum lx_channel_state state, const struct lx_err *err,
		      void *arg);
	/* May put an error that the other side has answered with in other words. May be NULL. */
	void (*reword)(struct lx_err *err, void *arg);
	void *arg;
	bool keepalive; /* PING when idle; a peer that does not answer fails the channel */
};

/*
 * `target`: "unix:/path" or "host:port". Connects on the first call and again after a
 * failure on the next call; calls made while connecting wait for the connection. Calls on a
 * connection that breaks end with UNAVAILABLE.
 */
int lx_channel_create(uv_loop_t *loop, const char *target, const struct lx_channel_options *opt,
		      struct lx_channel **ret, struct lx_err *err);
/* The same for unix sockets only: a program that calls no other is not linked with OpenSSL. */
int lx_channel_create_unix(uv_loop_t *loop, const char *target, const struct lx_channel_options *opt,
			   struct lx_channel **ret, struct lx_err *err);
/* Cancels its calls (their `closed` still comes), then frees. NULL is fine. */
void lx_channel_close(struct lx_channel *ch);
const char *lx_channel_target(const struct lx_channel *ch);

struct lx_call_options {
	uint64_t timeout_ms;              /* 0: no deadline */
	const char *const (*metadata)[2]; /* name, value pairs; copied */
	size_t n_metadata;
};

/* One request, one answer. `resp` is NULL on failure, else borrowed. Called exactly once, later. */
typedef void (*lx_unary_cb)(const ProtobufCMessage *resp, const struct lx_err *err, void *arg);

/*
 * `method` is looked up in `service` by name ("List"). Returns 0, or negative errno with err
 * filled (then cb never runs). *ret_call may be NULL; with it the call can be cancelled.
 */
int lx_channel_unary(struct lx_channel *ch, const ProtobufCServiceDescriptor *service, const char *method,
		     const ProtobufCMessage *req, const struct lx_call_options *opt, lx_unary_cb cb,
		     void *arg, struct lx_call **ret_call, struct lx_err *err);

/* Any streaming kind: then lx_call_send(), lx_call_half_close(), events. */
int lx_channel_stream(struct lx_channel *ch, const ProtobufCServiceDescriptor *service, const char *method,
		      const struct lx_call_options *opt, const struct lx_call_events *events, void *arg,
		      struct lx_call **ret, struct lx_err *err);
/* The same by full path with undecoded messages, for proxies. */
int lx_channel_stream_raw(struct lx_channel *ch, const char *path, const struct lx_call_options *opt,
			  const struct lx_call_events *events, void *arg, struct lx_call **ret,
			  struct lx_err *err);
/* Client: no more messages from here. */
void lx_call_half_close(struct lx_call *call);
/* Either side: ends the call now with CANCELLED (RST_STREAM). `closed` still comes, later. */
void lx_call_cancel(struct lx_call *call);

#endif
