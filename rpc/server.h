/* Inside of a server: shared by server.c (services, calls) and listen.c (sockets). */
#ifndef LX_RPC_SERVER_H
#define LX_RPC_SERVER_H

#include <sys/types.h>

#include "lib/list.h"
#include "lib/map.h"
#include "rpc/call.h"

struct lx_listener {
	TAILQ_ENTRY(lx_listener) in_server;
	struct lx_server *server;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_pipe_t pipe;
		uv_tcp_t tcp;
	} io;
	struct lx_tls *tls; /* NULL: unix socket */
	char *path;         /* of the unix socket, removed on close if it is still this one */
	dev_t dev;
	ino_t ino;
};

struct lx_bound_method {
	const ProtobufCServiceDescriptor *service;
	const struct lx_method *method;
	const ProtobufCMethodDescriptor *types;
	void *arg;
};

struct lx_server {
	uv_loop_t *loop;
	uv_idle_t turn;        /* holds the end back until lx_server_close() has returned */
	struct lx_map methods; /* by full path: struct lx_bound_method */
	lx_rpc_gate gate;
	void *gate_arg;
	const struct lx_rpc_witness *witness;
	void *witness_arg;
	struct lx_reflection *reflection;
	TAILQ_HEAD(, lx_listener) listeners;
	TAILQ_HEAD(lx_conn_list, lx_conn) conns;
	struct lx_conn_list unproven; /* TLS connections without an identity, oldest first */
	unsigned n_conns, n_unproven;
	unsigned parts; /* turn, listeners and connections that are not gone yet */
	bool closing;
	void (*done)(void *arg);
	void *done_arg;
};

/* Takes a connected socket (a handle in c->io) as a new connection. */
int lx_server_new_conn(struct lx_server *s, const struct lx_tls *tls, struct lx_conn **ret,
		       struct lx_err *err);
/* One part less; frees the server with the last. */
void lx_server_unref(struct lx_server *s);
/* Closes every listener. */
void lx_server_stop_listening(struct lx_server *s);
/* When the last connection is gone: they share the TLS context of their listener. */
void lx_server_free_listeners(struct lx_server *s);

#endif
