/* Inside of a channel: shared by channel.c (connections), channel_tls.c and call_start.c (calls). */
#ifndef LX_RPC_CHANNEL_H
#define LX_RPC_CHANNEL_H

#include "rpc/call.h"

struct lx_channel {
	uv_loop_t *loop;
	char *target;
	char *authority;
	const struct lx_transport *transport;
	struct lx_tls *tls; /* NULL: unix socket */
	void (*free_tls)(struct lx_tls *tls);
	struct lx_channel_options opt;
	struct lx_conn *conn;        /* takes new calls; NULL: the next call makes one */
	TAILQ_HEAD(, lx_conn) conns; /* all, also those that end */
	bool closed;
};

/* A channel that is plain so far. `target` has been checked. */
int lx_channel_new(uv_loop_t *loop, const char *target, const char *authority,
		   const struct lx_channel_options *opt, struct lx_channel **ret, struct lx_err *err);
/* The connection for a new call. */
int lx_channel_conn(struct lx_channel *ch, struct lx_conn **ret, struct lx_err *err);
/* It can take no more calls, but goes on with those it has. */
void lx_channel_retire(struct lx_channel *ch);

#endif
