/*
 * Datagrams: who has sent one has a session, a socket on the other side by which answers find the way
 * back. It ends when nothing has come for a while.
 *
 *	first datagram --> dialled (it waits, others are dropped) --> open --> silent --> closed
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/worker/proxy/daemon.h"

#define SILENT_MS    60000
#define SESSIONS_MAX 1024 /* of one listener */
#define DATAGRAM_MAX 65536
/* Read in one turn of the loop, that others have theirs. */
#define READ_MAX 64

struct lx_session {
	TAILQ_ENTRY(lx_session) next;
	struct lx_proxyd *d;
	struct lx_listener *listener; /* NULL: closed */
	struct sockaddr_storage from;
	socklen_t from_len;
	int fd;
	uv_poll_t poll;
	bool polled, dialling;
	uint64_t last_ms;
	char *first; /* what began it */
	size_t first_len;
};

/* One datagram is handled at a time, whichever way it goes. */
static char datagram[DATAGRAM_MAX];

/* ------------------------------------------------------------------ the end */

static void session_free(struct lx_session *s)
{
	free(s->first);
	free(s);
}

static void on_closed(uv_handle_t *handle)
{
	session_free(handle->data);
}

static void session_close(struct lx_session *s)
{
	TAILQ_REMOVE(&s->listener->sessions, s, next);
	s->listener = NULL;
	lx_count(s->d, -1);
	if (s->polled)
		uv_close((uv_handle_t *)&s->poll, on_closed);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	if (!s->polled && !s->dialling)
		session_free(s);
}

void lx_datagram_close(struct lx_listener *l)
{
	while (!TAILQ_EMPTY(&l->sessions))
		session_close(TAILQ_FIRST(&l->sessions));
}

void lx_datagram_sweep(struct lx_listener *l)
{
	struct lx_session *s, *after;

	TAILQ_FOREACH_SAFE (s, &l->sessions, next, after) {
		if (uv_now(&s->d->loop) - s->last_ms > SILENT_MS)
			session_close(s);
	}
}

/* ------------------------------------------------------------------ back */

static void forget_error(int fd)
{
	int fault;
	socklen_t len = sizeof(fault);

	(void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &len);
}

static void on_answer(uv_poll_t *poll, int status, int events)
{
	struct lx_session *s = poll->data;

	/* Nobody was there: libuv stops to listen then. The next one may find somebody. */
	if (status < 0) {
		forget_error(s->fd);
		(void)uv_poll_start(poll, UV_READABLE, on_answer);
		return;
	}
	for (int i = 0; i < READ_MAX; i++) {
		ssize_t n = recv(s->fd, datagram, sizeof(datagram), 0);

		if (n < 0)
			return;
		s->last_ms = uv_now(&s->d->loop);
		(void)sendto(s->listener->fd, datagram, (size_t)n, MSG_NOSIGNAL,
			     (const struct sockaddr *)&s->from, s->from_len);
	}
}

/* ------------------------------------------------------------------ there */

static void on_dialled(int fd, void *arg)
{
	struct lx_session *s = arg;

	s->dialling = false;
	if (!s->listener) {
		if (fd >= 0)
			close(fd);
		session_free(s);
		return;
	}
	if (fd < 0) {
		session_close(s);
		return;
	}
	s->fd = fd;
	s->poll.data = s;
	s->polled = true;
	(void)uv_poll_init(&s->d->loop, &s->poll, fd);
	(void)uv_poll_start(&s->poll, UV_READABLE, on_answer);
	(void)send(fd, s->first, s->first_len, MSG_NOSIGNAL);
	free(s->first);
	s->first = NULL;
}

static void session_new(struct lx_proxyd *d, struct lx_listener *l, const struct sockaddr_storage *from,
			socklen_t from_len, size_t n)
{
	struct lx_session *s = calloc(1, sizeof(*s));
	char *first = malloc(n + 1);

	if (!s || !first) {
		free(s);
		free(first);
		return;
	}
	memcpy(first, datagram, n);
	*s = (struct lx_session){ .d = d,
				  .listener = l,
				  .from = *from,
				  .from_len = from_len,
				  .fd = -1,
				  .last_ms = uv_now(&d->loop),
				  .first = first,
				  .first_len = n };
	TAILQ_INSERT_TAIL(&l->sessions, s, next);
	lx_count(d, 1);
	int r = lx_dial(d, l, on_dialled, s);

	s->dialling = r == LX_DIAL_LATER;
	if (!s->dialling)
		on_dialled(r, s);
}

static struct lx_session *find(struct lx_listener *l, const struct sockaddr_storage *from, socklen_t len,
			       unsigned *ret_n)
{
	struct lx_session *s;

	*ret_n = 0;
	TAILQ_FOREACH (s, &l->sessions, next) {
		if (s->from_len == len && memcmp(&s->from, from, len) == 0)
			return s;
		(*ret_n)++;
	}
	return NULL;
}

void lx_datagram_read(struct lx_proxyd *d, struct lx_listener *l)
{
	for (int i = 0; i < READ_MAX && d->n_open < LX_PROXY_OPEN_MAX && l->fd >= 0; i++) {
		struct sockaddr_storage from = { 0 };
		socklen_t len = sizeof(from);
		unsigned others;
		ssize_t n = recvfrom(l->fd, datagram, sizeof(datagram), 0, (struct sockaddr *)&from, &len);

		if (n < 0)
			return;
		struct lx_session *s = find(l, &from, len, &others);

		if (s) {
			s->last_ms = uv_now(&d->loop);
			if (s->fd >= 0)
				(void)send(s->fd, datagram, (size_t)n, MSG_NOSIGNAL);
		} else if (others < SESSIONS_MAX) {
			session_new(d, l, &from, len, (size_t)n);
		}
	}
}
