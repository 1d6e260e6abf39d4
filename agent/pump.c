/*
 * Sources and sinks. One read or write for each time the loop finds the descriptor ready,
 * so that one busy stream does not starve the others.
 */
#include "agent/pump.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/loop.h"
#include "lib/buf.h"

/* ------------------------------------------------------------------ source */

struct lx_source {
	uv_loop_t *loop;
	int fd;
	struct lx_fdwatch *watch;
	struct lx_timer *soon; /* finishing: reads without being told that there is something */
	const struct lx_source_events *events;
	void *arg;
	bool paused;
	bool finishing;
	bool ended;
	bool busy; /* in a callback: who closes it leaves the rest to us */
	bool closed;
};

/* One thread, and nobody keeps what they are handed. */
static uint8_t chunk[LX_PUMP_CHUNK];

static void free_source(struct lx_source *s)
{
	lx_fdwatch_stop(s->watch);
	lx_timer_stop(s->soon);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

static void read_some(struct lx_source *s);

static void on_soon(void *arg)
{
	struct lx_source *s = arg;

	lx_timer_drop(&s->soon);
	read_some(s);
}

static void wait_for_more(struct lx_source *s)
{
	if (!s->finishing) {
		lx_fdwatch_set(s->watch, UV_READABLE);
	} else if (!s->soon) {
		lx_fdwatch_set(s->watch, 0);
		/* Without memory for a timer the descriptor's own readiness has to do. */
		if (lx_timer_start(s->loop, 0, 0, on_soon, s, &s->soon, NULL) < 0)
			lx_fdwatch_set(s->watch, UV_READABLE);
	}
}

static void read_some(struct lx_source *s)
{
	ssize_t n;

	do
		n = read(s->fd, chunk, sizeof(chunk));
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN && !s->finishing)
		return;
	s->busy = true;
	if (n > 0) {
		s->paused = s->events->data(chunk, (size_t)n, s->arg) > 0;
		if (s->paused && !s->closed)
			lx_fdwatch_set(s->watch, 0);
		else if (!s->closed)
			wait_for_more(s);
	} else {
		/* EOF, or an error: a pty whose other side is closed says EIO. */
		lx_fdwatch_set(s->watch, 0);
		s->ended = true;
		s->events->end(s->arg);
	}
	s->busy = false;
	if (s->closed)
		free_source(s);
}

static void on_readable(void *arg, int events)
{
	read_some(arg);
}

int lx_source_open(uv_loop_t *loop, int fd, const struct lx_source_events *events, void *arg,
		   struct lx_source **ret, struct lx_err *err)
{
	struct lx_source *s = calloc(1, sizeof(*s));

	if (!s) {
		close(fd);
		return lx_err_oom(err);
	}
	*s = (struct lx_source){ .loop = loop, .fd = fd, .events = events, .arg = arg };
	int r = lx_fdwatch_start(loop, fd, UV_READABLE, on_readable, s, &s->watch, err);

	if (r < 0) {
		free_source(s);
		return r;
	}
	*ret = s;
	return 0;
}

void lx_source_resume(struct lx_source *s)
{
	if (!s->paused || s->ended)
		return;
	s->paused = false;
	wait_for_more(s);
}

void lx_source_finish(struct lx_source *s)
{
	if (s->finishing || s->ended)
		return;
	s->finishing = true;
	if (!s->paused)
		wait_for_more(s);
}

void lx_source_close(struct lx_source *s)
{
	if (!s)
		return;
	s->closed = true;
	if (!s->busy)
		free_source(s);
}

/* ------------------------------------------------------------------ sink */

struct lx_sink {
	int fd;
	struct lx_fdwatch *watch;
	const struct lx_sink_events *events;
	void *arg;
	struct lx_buf pending;
	size_t off; /* of pending, written already */
	bool full;  /* `drained` is owed */
	bool ending;
};

static void close_fd(struct lx_sink *s)
{
	lx_fdwatch_drop(&s->watch);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	lx_buf_release(&s->pending);
	s->off = 0;
}

/* How much was taken; everything when there is nobody to take it. */
static size_t write_some(struct lx_sink *s, const uint8_t *data, size_t len)
{
	ssize_t n;

	do
		n = write(s->fd, data, len);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0) {
		close_fd(s);
		return len;
	}
	return (size_t)n;
}

static void on_writable(void *arg, int events)
{
	struct lx_sink *s = arg;

	s->off += write_some(s, s->pending.data + s->off, s->pending.len - s->off);
	if (s->fd >= 0 && s->off < s->pending.len)
		return;
	lx_buf_release(&s->pending);
	s->off = 0;
	if (s->fd >= 0)
		lx_fdwatch_set(s->watch, 0);
	if (s->fd >= 0 && s->ending)
		close_fd(s);
	if (s->full) {
		s->full = false;
		s->events->drained(s->arg);
	}
}

int lx_sink_open(uv_loop_t *loop, int fd, const struct lx_sink_events *events, void *arg,
		 struct lx_sink **ret, struct lx_err *err)
{
	struct lx_sink *s = calloc(1, sizeof(*s));

	if (!s) {
		close(fd);
		return lx_err_oom(err);
	}
	*s = (struct lx_sink){ .fd = fd, .events = events, .arg = arg };
	int r = lx_fdwatch_start(loop, fd, 0, on_writable, s, &s->watch, err);

	if (r < 0) {
		lx_sink_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

int lx_sink_write(struct lx_sink *s, const void *data, size_t len)
{
	const uint8_t *bytes = data;
	size_t done = 0;

	if (s->fd < 0 || s->ending)
		return 0;
	if (s->pending.len == 0)
		done = write_some(s, bytes, len);
	if (done == len || s->fd < 0)
		return 0;
	/* What is written already need not be kept while the buffer grows. */
	lx_buf_consume(&s->pending, s->off);
	s->off = 0;
	int r = lx_buf_append(&s->pending, bytes + done, len - done);

	if (r < 0)
		return r;
	lx_fdwatch_set(s->watch, UV_WRITABLE);
	s->full = s->full || s->pending.len >= LX_SINK_HIGH_WATER;
	return s->full ? 1 : 0;
}

void lx_sink_end(struct lx_sink *s)
{
	s->ending = true;
	if (s->pending.len == 0)
		close_fd(s);
}

void lx_sink_close(struct lx_sink *s)
{
	if (!s)
		return;
	close_fd(s);
	free(s);
}

int lx_sink_fd(const struct lx_sink *s)
{
	return s->fd;
}
