/* Watching shared descriptors: see fdwatch.h. */
#include "cli/fdwatch.h"

#include <sys/epoll.h>

static void on_poll(uv_poll_t *p, int status, int events)
{
	struct cli_fdwatch *w = p->data;

	w->ready(w);
}

static void on_idle(uv_idle_t *i)
{
	struct cli_fdwatch *w = i->data;

	w->ready(w);
}

int cli_fdwatch_init(struct cli_fdwatch *w, uv_loop_t *loop, int fd, uint32_t events,
		     void (*ready)(struct cli_fdwatch *w), void *arg, struct lx_err *err)
{
	struct epoll_event e = { .events = events };

	*w = (struct cli_fdwatch){ .fd = fd, .epoll = -1, .ready = ready, .arg = arg };
	w->poll.data = w->idle.data = w;
	lx_autoclose int set = epoll_create1(EPOLL_CLOEXEC);
	if (set < 0)
		return lx_err_errno(err, errno, "cannot watch descriptor %d", fd);
	if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &e) < 0) {
		if (errno != EPERM)
			return lx_err_errno(err, errno, "cannot watch descriptor %d", fd);
		uv_idle_init(loop, &w->idle);
		w->idle_open = true;
		return 0;
	}
	int r = uv_poll_init(loop, &w->poll, set);
	if (r < 0)
		return lx_err_errno(err, r, "cannot watch descriptor %d", fd);
	w->poll_open = true;
	w->epoll = lx_move_fd(set);
	return 0;
}

void cli_fdwatch_set(struct cli_fdwatch *w, bool on)
{
	if (w->on == on)
		return;
	w->on = on;
	if (w->poll_open && on)
		uv_poll_start(&w->poll, UV_READABLE, on_poll);
	else if (w->poll_open)
		uv_poll_stop(&w->poll);
	else if (w->idle_open && on)
		uv_idle_start(&w->idle, on_idle);
	else if (w->idle_open)
		uv_idle_stop(&w->idle);
}

static void on_poll_closed(uv_handle_t *h)
{
	struct cli_fdwatch *w = h->data;

	close(w->epoll);
	w->epoll = -1;
}

void cli_fdwatch_close(struct cli_fdwatch *w)
{
	w->on = false;
	if (w->poll_open)
		uv_close((uv_handle_t *)&w->poll, on_poll_closed);
	if (w->idle_open)
		uv_close((uv_handle_t *)&w->idle, NULL);
	w->poll_open = w->idle_open = false;
}
