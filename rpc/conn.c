/*
 * The stream of a connection; see conn.h for the states.
 *
 * Happy path: lx_conn_start() reads and lets the transport begin; each batch of input goes
 * through the transport into HTTP/2; the turn tells calls what is due, collects what
 * HTTP/2 has to send and writes it at once, with uv_try_write() as far as the socket takes it
 * and uv_write() for the rest.
 * Ways to fail: end of file or an error from the socket, anything the transport or
 * HTTP/2 finds wrong, a write that fails (what the peer said before it left is read first,
 * it says why), the timer. All of them end in lx_conn_fail() and then in end_conn().
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/call.h"
#include "rpc/conn.h"

static struct lx_err out_of_memory = { .code = LX_RESOURCE_EXHAUSTED, .msg = "out of memory" };

struct lx_err *lx_err_keep(const struct lx_err *err)
{
	struct lx_err *copy = malloc(sizeof(*copy));

	if (!copy)
		return &out_of_memory;
	*copy = *err;
	return copy;
}

void lx_err_drop(struct lx_err *err)
{
	if (err != &out_of_memory)
		free(err);
}

static void on_turn(uv_idle_t *turn);

/*
 * A write to a socket whose peer left must be an error, not the end of the process. A
 * handler, unlike SIG_IGN, is not inherited by the programs this one starts.
 */
static void on_sigpipe(int sig)
{
}

static void catch_sigpipe(void)
{
	struct sigaction old, sa = { .sa_handler = on_sigpipe, .sa_flags = SA_RESTART };

	if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
		sigaction(SIGPIPE, &sa, NULL);
}

int lx_conn_create(uv_loop_t *loop, const struct lx_conn_owner *owner, void *owner_data,
		   const struct lx_transport *transport, const struct lx_tls *tls, const char *target,
		   struct lx_conn **ret, struct lx_err *err)
{
	struct lx_conn *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return lx_err_oom(err);
	c->loop = loop;
	c->owner = owner;
	c->owner_data = owner_data;
	c->server = !target;
	c->state = c->server ? LX_CONN_HANDSHAKE : LX_CONN_DIALING;
	c->transport = transport;
	c->tls_context = tls;
	c->name = target ? target : c->address;
	TAILQ_INIT(&c->calls);
	TAILQ_INIT(&c->due);
	TAILQ_INIT(&c->deadlines);
	r = lx_http2_create(c, err);
	if (r < 0) {
		free(c);
		return r;
	}
	catch_sigpipe();
	uv_idle_init(loop, &c->turn);
	uv_timer_init(loop, &c->timer);
	c->turn.data = c;
	c->timer.data = c;
	c->write.data = c;
	c->shutdown.data = c;
	c->handles = 2;
	c->heard_ms = uv_now(loop);
	c->give_up_ms = uv_now(loop) + LX_RPC_HANDSHAKE_MS;
	*ret = c;
	return 0;
}

/* ------------------------------------------------------------------ the end */

void lx_conn_unref(struct lx_conn *c)
{
	if (--c->handles)
		return;
	c->owner->freed(c);
	lx_buf_release(&c->wire);
	lx_buf_release(&c->inflight);
	lx_peer_release(&c->peer);
	lx_dial_free(c->dial);
	lx_err_drop(c->why);
	lx_err_drop(c->why_http2);
	free(c);
}

static void on_closed(uv_handle_t *handle)
{
	lx_conn_unref(handle->data);
}

static void close_handles(struct lx_conn *c)
{
	if (c->state == LX_CONN_CLOSED)
		return;
	c->state = LX_CONN_CLOSED;
	if (c->io_open)
		uv_close(&c->io.handle, on_closed);
	uv_close((uv_handle_t *)&c->turn, on_closed);
	uv_close((uv_handle_t *)&c->timer, on_closed);
}

void lx_conn_kick(struct lx_conn *c)
{
	if (c->state < LX_CONN_LINGER)
		uv_idle_start(&c->turn, on_turn);
}

void lx_conn_fail(struct lx_conn *c, const struct lx_err *err)
{
	if (c->failed)
		return;
	c->failed = true;
	c->why = lx_err_keep(err);
	lx_conn_kick(c);
}

static void on_linger_over(uv_timer_t *timer)
{
	close_handles(timer->data);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
	lx_conn_unref(req->data);
}

/* Everybody is told, then the stream is shut, gently when the peer may still be reading. */
static void end_conn(struct lx_conn *c)
{
	struct lx_call *call, *next;

	c->owner->ended(c, c->why);
	TAILQ_FOREACH_SAFE (call, &c->calls, in_conn, next)
		lx_call_on_conn_end(call, c->why);
	while ((call = TAILQ_FIRST(&c->due)))
		lx_call_tell(call);
	lx_http2_release(c);

	uv_idle_stop(&c->turn);
	if (c->transport->finish)
		c->transport->finish(c);
	c->transport->release(c);
	if (c->io_open && c->wire.len && !c->writing && !c->write_failed) {
		uv_buf_t buf = uv_buf_init((char *)c->wire.data, (unsigned)c->wire.len);
		/* Last words: what the socket does not take now is not worth waiting for. */
		(void)uv_try_write(&c->io.stream, &buf, 1);
	}
	if (c->server && c->io_open && !c->write_failed && !c->read_ended &&
	    uv_shutdown(&c->shutdown, &c->io.stream, on_shutdown) == 0) {
		c->handles++;
		c->state = LX_CONN_LINGER;
		uv_timer_start(&c->timer, on_linger_over, LX_CONN_LINGER_MS, 0);
		return;
	}
	close_handles(c);
}

/* ------------------------------------------------------------------ writing */

static void write_broke(struct lx_conn *c)
{
	c->write_failed = true;
	lx_buf_release(&c->wire);
	/* Reading will end soon, with the peer's reason if it gave one. */
	lx_conn_give_up_in(c, LX_CONN_LINGER_MS);
}

static void on_written(uv_write_t *req, int status)
{
	struct lx_conn *c = req->data;

	c->writing = false;
	lx_buf_release(&c->inflight);
	if (c->failed || c->state >= LX_CONN_LINGER)
		return;
	if (status < 0)
		write_broke(c);
	lx_conn_kick(c);
}

static int produce(struct lx_conn *c, struct lx_err *err)
{
	lx_autobuf struct lx_buf plain = { 0 };
	int r;

	if (!c->secured)
		return 0;
	if (!c->transport->wrap)
		return lx_http2_output(c, &c->wire, err);
	r = lx_http2_output(c, &plain, err);
	if (r < 0 || !plain.len)
		return r;
	return c->transport->wrap(c, plain.data, plain.len, err);
}

static int flush(struct lx_conn *c, struct lx_err *err)
{
	uv_buf_t buf;
	int r;

	while (!c->writing && !c->write_failed) {
		r = produce(c, err);
		if (r < 0)
			return r;
		if (!c->wire.len) {
			lx_buf_release(&c->wire);
			return 0;
		}
		buf = uv_buf_init((char *)c->wire.data, (unsigned)c->wire.len);
		r = uv_try_write(&c->io.stream, &buf, 1);
		if (r < 0 && r != UV_EAGAIN) {
			write_broke(c);
			return 0;
		}
		if (r > 0)
			lx_buf_consume(&c->wire, (size_t)r);
		if (!c->wire.len)
			continue;
		c->inflight = c->wire;
		c->wire = (struct lx_buf){ 0 };
		buf = uv_buf_init((char *)c->inflight.data, (unsigned)c->inflight.len);
		r = uv_write(&c->write, &c->io.stream, &buf, 1, on_written);
		if (r < 0) {
			lx_buf_release(&c->inflight);
			write_broke(c);
			return 0;
		}
		c->writing = true;
	}
	return 0;
}

/* ------------------------------------------------------------------ the turn */

/* Those due now; what becomes due meanwhile has kicked the next turn. */
static void tell_due(struct lx_conn *c)
{
	struct lx_call *last = TAILQ_LAST(&c->due, lx_call_list), *call = NULL;

	while (last && call != last) {
		call = TAILQ_FIRST(&c->due);
		lx_call_tell(call);
	}
}

/* Twice, as what was sent gives calls something to tell ("closed") as a rule, and they little
 * to send in turn. */
static void tell_and_send(struct lx_conn *c)
{
	struct lx_err err;
	int i;

	for (i = 0; i < 2 && !c->failed; i++) {
		tell_due(c);
		if (!c->failed && c->io_open && c->state != LX_CONN_DIALING && flush(c, &err) < 0)
			lx_conn_fail(c, &err);
		if (TAILQ_EMPTY(&c->due))
			break;
	}
}

static bool is_drained(const struct lx_conn *c)
{
	return c->draining && TAILQ_EMPTY(&c->calls) && !c->wire.len && !c->writing &&
	       !nghttp2_session_want_write(c->http2);
}

static void on_turn(uv_idle_t *turn)
{
	struct lx_conn *c = turn->data;
	struct lx_err err;

	if (c->state == LX_CONN_DIALING && !c->dial && !c->failed)
		c->owner->connect(c);
	tell_and_send(c);
	/* Users and HTTP/2 wake each other: what is left waits for the next turn. */
	if (TAILQ_EMPTY(&c->due))
		uv_idle_stop(turn);
	if (!c->failed && c->secured && !c->writing && lx_http2_over(c)) {
		if (c->why_http2)
			err = *c->why_http2;
		else
			lx_err_set(&err, LX_UNAVAILABLE, "%s closed the connection", c->name);
		lx_conn_fail(c, &err);
	}
	if (!c->failed && is_drained(c)) {
		lx_err_set(&err, LX_UNAVAILABLE, "the connection with %s is closed", c->name);
		lx_conn_fail(c, &err);
	}
	if (c->failed)
		end_conn(c);
}

void lx_conn_drain(struct lx_conn *c)
{
	c->draining = true;
	lx_conn_kick(c);
}

void lx_conn_give_up_in(struct lx_conn *c, uint64_t ms)
{
	c->give_up_ms = uv_now(c->loop) + ms;
	lx_conn_rearm(c);
}

/* ------------------------------------------------------------------ reading */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	/* libuv reads and hands over at once: one buffer serves every connection of a thread. */
	static _Thread_local char input[LX_CONN_READ];

	*buf = uv_buf_init(input, sizeof(input));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct lx_conn *c = stream->data;
	struct lx_err err;

	if (c->state == LX_CONN_LINGER) {
		if (n < 0)
			close_handles(c);
		return;
	}
	if (c->failed || n == 0)
		return;
	if (n < 0) {
		if (c->why_http2)
			err = *c->why_http2;
		else if (n == UV_EOF)
			lx_err_set(&err, LX_UNAVAILABLE, "%s closed the connection%s", c->name,
				   c->settings_seen ? "" : " before it was ready");
		else
			lx_err_set(&err, LX_UNAVAILABLE, "the connection with %s broke: %s", c->name,
				   uv_strerror((int)n));
		uv_read_stop(stream);
		c->read_ended = true;
		lx_conn_fail(c, &err);
		return;
	}
	c->heard_ms = uv_now(c->loop);
	if (c->transport->receive(c, (const uint8_t *)buf->base, (size_t)n, &err) < 0)
		lx_conn_fail(c, &err);
	lx_conn_kick(c);
}

void lx_conn_start(struct lx_conn *c)
{
	struct lx_err err;
	int r;

	c->state = LX_CONN_HANDSHAKE;
	c->io.handle.data = c;
	r = lx_peer_from_socket(c, &err);
	if (r == 0)
		r = c->transport->start(c, &err);
	if (r == 0) {
		r = uv_read_start(&c->io.stream, on_alloc, on_read);
		if (r < 0)
			lx_err_errno(&err, r, "cannot read from %s", c->name);
	}
	if (r < 0)
		lx_conn_fail(c, &err);
	lx_conn_rearm(c);
	lx_conn_kick(c);
}
