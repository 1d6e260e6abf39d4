/*
 * One connection that is passed on.
 *
 *	accepted --> the other side is dialled --> connected --> bytes go both ways
 *
 * What one side has sent is taken only when the other has taken what came before, so a slow reader
 * slows the sender down and no more than a buffer each way is ever held. An end of one direction is
 * passed on; after both the connection is over. A side that fails, or could not be dialled, has the other
 * reset: an end would say that all had come.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/worker/proxy/daemon.h"

#define BUFFER_SIZE (32u << 10)
/* Accepted in one turn of the loop, that others have theirs. */
#define ACCEPT_MAX 64

struct side {
	struct lx_conn *conn;
	struct side *other;
	int fd;
	uv_poll_t poll;
	bool polled;  /* the handle is in use */
	bool ended;   /* no more comes from it */
	bool shut;    /* nothing more goes to it */
	size_t at, n; /* of what has come from it: not yet given to the other */
	char buffer[BUFFER_SIZE];
};

struct lx_conn {
	TAILQ_ENTRY(lx_conn) next;
	struct lx_proxyd *d;
	const struct lx_proxy_device *device;
	struct side near, far; /* far: the one that was dialled */
	bool dialling, closing;
	unsigned handles;
};

/* ------------------------------------------------------------------ the end */

static void maybe_free(struct lx_conn *c)
{
	if (c->closing && c->handles == 0 && !c->dialling)
		free(c);
}

static void on_closed(uv_handle_t *handle)
{
	struct side *s = handle->data;
	struct lx_conn *c = s->conn;

	c->handles--;
	maybe_free(c);
}

static void close_side(struct side *s)
{
	if (s->polled)
		uv_close((uv_handle_t *)&s->poll, on_closed);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static void conn_close(struct lx_conn *c)
{
	if (c->closing)
		return;
	c->closing = true;
	TAILQ_REMOVE(&c->d->conns, c, next);
	close_side(&c->near);
	close_side(&c->far);
	lx_count(c->d, -1);
	maybe_free(c);
}

/* Of a socket that is none of TCP's it is just the end. */
static void reset(const struct side *s)
{
	const struct linger now = { .l_onoff = 1 };

	if (s->fd >= 0)
		(void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void conn_fail(struct lx_conn *c)
{
	reset(&c->near);
	reset(&c->far);
	conn_close(c);
}

void lx_stream_close(struct lx_proxyd *d, const struct lx_proxy_device *device)
{
	struct lx_conn *c, *after;

	TAILQ_FOREACH_SAFE (c, &d->conns, next, after) {
		if (!device || c->device == device)
			conn_close(c);
	}
}

/* ------------------------------------------------------------------ bytes */

/* False: this side has failed. */
static bool take(struct side *s)
{
	if (s->n > 0 || s->ended)
		return true;
	ssize_t n = recv(s->fd, s->buffer, sizeof(s->buffer), 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	s->ended = n == 0;
	s->at = 0;
	s->n = (size_t)n;
	return true;
}

/* Gives what has come from this side to the other. */
static bool give(struct side *s)
{
	if (s->n > 0) {
		ssize_t n = send(s->other->fd, s->buffer + s->at, s->n, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		s->at += (size_t)n;
		s->n -= (size_t)n;
	}
	if (s->n == 0 && s->ended && !s->other->shut) {
		s->other->shut = true;
		/* It may have gone already; then its own end says so. */
		(void)shutdown(s->other->fd, SHUT_WR);
	}
	return true;
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void update(struct side *s)
{
	int events = (s->n == 0 && !s->ended ? UV_READABLE : 0) | (s->other->n > 0 ? UV_WRITABLE : 0);

	if (events)
		(void)uv_poll_start(&s->poll, events, on_ready);
	else
		(void)uv_poll_stop(&s->poll);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct side *s = poll->data;
	struct lx_conn *c = s->conn;
	bool well = status == 0;

	if (well && (events & UV_READABLE))
		well = take(s);
	if (well)
		well = give(s);
	if (well && (events & UV_WRITABLE))
		well = give(s->other);
	if (!well) {
		conn_fail(c);
		return;
	}
	if (c->near.shut && c->far.shut) {
		conn_close(c);
		return;
	}
	update(&c->near);
	update(&c->far);
}

/* ------------------------------------------------------------------ the beginning */

static void begin_polling(struct side *s)
{
	int on = 1;

	/* Who has gone without a word is found out; small pieces wait for no others. */
	(void)setsockopt(s->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	s->poll.data = s;
	s->polled = true;
	s->conn->handles++;
	(void)uv_poll_init(&s->conn->d->loop, &s->poll, s->fd);
}

static void on_connected(uv_poll_t *poll, int status, int events)
{
	struct side *s = poll->data;
	struct lx_conn *c = s->conn;
	int fault = 0;
	socklen_t len = sizeof(fault);

	if (status < 0 || getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &fault, &len) < 0 || fault) {
		conn_fail(c);
		return;
	}
	begin_polling(&c->near);
	update(&c->near);
	update(&c->far);
}

static void on_dialled(int fd, void *arg)
{
	struct lx_conn *c = arg;

	c->dialling = false;
	if (c->closing || fd < 0) {
		if (fd >= 0)
			close(fd);
		if (c->closing)
			maybe_free(c);
		else
			conn_fail(c);
		return;
	}
	c->far.fd = fd;
	begin_polling(&c->far);
	(void)uv_poll_start(&c->far.poll, UV_WRITABLE, on_connected);
}

/* All but the buffer, which is not for writing zeros to. */
static void side_init(struct side *s, struct lx_conn *c, struct side *other, int fd)
{
	memset(s, 0, offsetof(struct side, buffer));
	s->conn = c;
	s->other = other;
	s->fd = fd;
}

static int conn_new(struct lx_proxyd *d, struct lx_listener *l, int fd)
{
	struct lx_conn *c = malloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	side_init(&c->near, c, &c->far, fd);
	side_init(&c->far, c, &c->near, -1);
	c->dialling = c->closing = false;
	c->handles = 0;
	c->d = d;
	c->device = l->device;
	TAILQ_INSERT_TAIL(&d->conns, c, next);
	lx_count(d, 1);
	int r = lx_dial(d, l, on_dialled, c);

	c->dialling = r == LX_DIAL_LATER;
	if (!c->dialling)
		on_dialled(r, c);
	return 0;
}

void lx_stream_accept(struct lx_proxyd *d, struct lx_listener *l)
{
	for (int i = 0; i < ACCEPT_MAX && d->n_open < LX_PROXY_OPEN_MAX && l->fd >= 0; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			lx_listener_rest(l);
		if (fd < 0)
			return;
		if (conn_new(d, l, fd) < 0)
			close(fd);
	}
}
