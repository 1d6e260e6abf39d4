/*
 * Queued output: see sink.h.
 *
 * The descriptor stays blocking (others share it), so a write must be known not to block:
 * after poll(2) has said "writable" a pipe takes PIPE_BUF bytes at once. Regular files
 * never block for long and get everything in one go.
 */
#include "cli/sink.h"

#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>

static bool is_writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) > 0;
}

/* Writes what can be written now. */
static void flush(struct cli_sink *s)
{
	bool always = s->watch.epoll < 0;

	while (!s->error && cli_sink_pending(s)) {
		size_t n = cli_sink_pending(s);
		if (!always && !is_writable(s->watch.fd))
			break;
		if (!always && n > PIPE_BUF)
			n = PIPE_BUF;
		ssize_t done = write(s->watch.fd, s->queue.data + s->written, n);
		if (done >= 0)
			s->written += (size_t)done;
		else if (errno == EAGAIN) /* somebody else made it non-blocking */
			break;
		else if (errno != EINTR)
			s->error = errno;
	}
	if (s->error || !cli_sink_pending(s)) {
		s->queue.len = 0;
		s->written = 0;
	}
}

static void on_ready(struct cli_fdwatch *w)
{
	struct cli_sink *s = lx_container_of(w, struct cli_sink, watch);

	flush(s);
	if (!cli_sink_pending(s)) {
		cli_fdwatch_set(w, false);
		s->drained(s);
	}
}

int cli_sink_init(struct cli_sink *s, uv_loop_t *loop, int fd, void (*drained)(struct cli_sink *s), void *arg,
		  struct lx_err *err)
{
	*s = (struct cli_sink){ .drained = drained, .arg = arg };
	return cli_fdwatch_init(&s->watch, loop, fd, EPOLLOUT, on_ready, NULL, err);
}

int cli_sink_put(struct cli_sink *s, const void *data, size_t len)
{
	if (s->error)
		return 0;
	if (s->written && s->written >= s->queue.len / 2) {
		lx_buf_consume(&s->queue, s->written);
		s->written = 0;
	}
	if (lx_buf_append(&s->queue, data, len) < 0)
		return -ENOMEM;
	flush(s);
	/* A write that just failed is told by `drained` too, from the loop. */
	cli_fdwatch_set(&s->watch, cli_sink_pending(s) || s->error);
	return cli_sink_pending(s) > CLI_SINK_HIGH_WATER;
}

void cli_sink_close(struct cli_sink *s)
{
	cli_fdwatch_close(&s->watch);
	lx_buf_release(&s->queue);
}
