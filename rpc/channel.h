/* Inside of a channel: shared by channel.c (connections) and call_start.c (calls). */
#ifndef LX_RPC_CHANNEL_H
#define LX_RPC_CHANNEL_H

#include "rpc/call.h"

struct lx_channel {
	uv_loop_t *loop;
	char *target;
	char *authority;
	struct lx_tls *tls; /* NULL: unix socket */
	struct lx_channel_options opt;
	struct lx_conn *conn;        /* takes new calls; NULL: the next call makes one */
	TAILQ_HEAD(, lx_conn) conns; /* all, also those that end */
	bool closed;
};

/* The connection for a new call. */
int lx_channel_conn(struct lx_channel *ch, struct lx_conn **ret, struct lx_err *err);
/* It can take no more calls, but goes on with those it has. */
void lx_channel_retire(struct lx_channel *ch);

#endif
