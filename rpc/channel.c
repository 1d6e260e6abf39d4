/*
 * A channel: a target, and at most one connection that takes new calls.
 *
 *   IDLE --call--> CONNECTING ----> READY ----> FAILED --call--> CONNECTING ...
 *                      |                           ^
 *                      +---------------------------+
 *
 * A connection whose server said goodbye keeps its calls until they end, beside the new
 * one. The channel's memory goes when it is closed and its last connection is gone.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/str.h"
#include "rpc/address.h"
#include "rpc/channel.h"

static void tell(struct lx_channel *ch, enum lx_channel_state state, const struct lx_err *err)
{
	if (ch->opt.state && !ch->closed)
		ch->opt.state(ch, state, err, ch->opt.arg);
}

static void channel_free(struct lx_channel *ch)
{
	if (ch->tls)
		ch->free_tls(ch->tls);
	free(ch->target);
	free(ch->authority);
	free(ch);
}

/* ------------------------------------------------------------------ connections */

static void on_connect(struct lx_conn *c)
{
	lx_dial(c);
	tell(c->owner_data, LX_CHANNEL_CONNECTING, NULL);
}

static void on_ready(struct lx_conn *c)
{
	struct lx_channel *ch = c->owner_data;

	if (ch->conn == c)
		tell(ch, LX_CHANNEL_READY, NULL);
}

static void on_goaway(struct lx_conn *c)
{
	struct lx_channel *ch = c->owner_data;
	struct lx_err err = LX_ERR_INIT;

	if (ch->conn != c)
		return;
	ch->conn = NULL;
	if (c->why_http2)
		err = *c->why_http2;
	else
		lx_err_set(&err, LX_UNAVAILABLE, "%s is shutting down", ch->target);
	tell(ch, LX_CHANNEL_FAILED, &err);
}

static void on_ended(struct lx_conn *c, const struct lx_err *err)
{
	struct lx_channel *ch = c->owner_data;

	if (ch->conn != c)
		return;
	ch->conn = NULL;
	tell(ch, LX_CHANNEL_FAILED, err);
}

static void on_freed(struct lx_conn *c)
{
	struct lx_channel *ch = c->owner_data;

	TAILQ_REMOVE(&ch->conns, c, in_owner);
	if (ch->closed && TAILQ_EMPTY(&ch->conns))
		channel_free(ch);
}

static void on_answered(struct lx_conn *c, struct lx_err *err)
{
	const struct lx_channel *ch = c->owner_data;

	if (ch->opt.reword)
		ch->opt.reword(err, ch->opt.arg);
}

static const struct lx_conn_owner channel_owner = {
	.answered = on_answered,
	.connect = on_connect,
	.ready = on_ready,
	.goaway = on_goaway,
	.ended = on_ended,
	.freed = on_freed,
};

int lx_channel_conn(struct lx_channel *ch, struct lx_conn **ret, struct lx_err *err)
{
	int r;

	if (!ch->conn || ch->conn->failed) {
		r = lx_conn_create(ch->loop, &channel_owner, ch, ch->transport, ch->tls, ch->target,
				   &ch->conn, err);
		if (r < 0) {
			ch->conn = NULL;
			return r;
		}
		ch->conn->authority = ch->authority;
		ch->conn->keepalive = ch->opt.keepalive;
		TAILQ_INSERT_TAIL(&ch->conns, ch->conn, in_owner);
		lx_conn_rearm(ch->conn);
		lx_conn_kick(ch->conn);
	}
	*ret = ch->conn;
	return 0;
}

void lx_channel_retire(struct lx_channel *ch)
{
	lx_conn_drain(ch->conn);
	ch->conn = NULL;
}

/* ------------------------------------------------------------------ life */

int lx_channel_new(uv_loop_t *loop, const char *target, const char *authority,
		   const struct lx_channel_options *opt, struct lx_channel **ret, struct lx_err *err)
{
	struct lx_channel *ch = calloc(1, sizeof(*ch));

	if (!ch)
		return lx_err_oom(err);
	TAILQ_INIT(&ch->conns);
	ch->loop = loop;
	if (opt)
		ch->opt = *opt;
	ch->opt.tls = NULL;
	ch->transport = &lx_transport_plain;
	ch->target = strdup(target);
	ch->authority = strdup(authority);
	if (!ch->target || !ch->authority) {
		channel_free(ch);
		return lx_err_oom(err);
	}
	*ret = ch;
	return 0;
}

int lx_channel_create_unix(uv_loop_t *loop, const char *target, const struct lx_channel_options *opt,
			   struct lx_channel **ret, struct lx_err *err)
{
	int r = lx_dial_check(target, false, err);

	return r < 0 ? r : lx_channel_new(loop, target, "localhost", opt, ret, err);
}

const char *lx_channel_target(const struct lx_channel *ch)
{
	return ch->target;
}

static void close_conn(struct lx_conn *c)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_call *call;

	TAILQ_FOREACH (call, &c->calls, in_conn)
		lx_call_cancel(call);
	if (c->state == LX_CONN_OPEN && !c->failed) {
		/* Lets the server know of the cancelled calls. */
		lx_http2_goaway(c);
		lx_conn_drain(c);
		lx_conn_give_up_in(c, LX_CONN_LINGER_MS);
		return;
	}
	lx_err_set(&err, LX_CANCELLED, "the connection with %s is closed", c->name);
	lx_conn_fail(c, &err);
}

void lx_channel_close(struct lx_channel *ch)
{
	struct lx_conn *c;

	if (!ch || ch->closed)
		return;
	ch->closed = true;
	ch->conn = NULL;
	if (TAILQ_EMPTY(&ch->conns)) {
		channel_free(ch);
		return;
	}
	TAILQ_FOREACH (c, &ch->conns, in_owner)
		close_conn(c);
}
