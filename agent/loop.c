/*
 * Descriptors, timers and background work on the loop. libuv wants a handle's memory until
 * its close callback ran; here each handle lives on the heap by itself, so that its owner
 * can forget it at once.
 */
#include "agent/loop.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"

struct lx_fdwatch {
	uv_poll_t poll;
	lx_fdwatch_cb cb; /* NULL: stopped */
	void *arg;
};

struct lx_timer {
	uv_timer_t timer;
	lx_timer_cb cb;
	void *arg;
};

static void free_handle(uv_handle_t *h)
{
	free(h->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct lx_fdwatch *w = poll->data;

	/* An error is found out by whoever reads or writes next. libuv has stopped the handle. */
	if (status < 0)
		events = UV_READABLE | UV_WRITABLE;
	if (w->cb)
		w->cb(w->arg, events);
}

int lx_fdwatch_start(uv_loop_t *loop, int fd, int events, lx_fdwatch_cb cb, void *arg,
		     struct lx_fdwatch **ret, struct lx_err *err)
{
	struct lx_fdwatch *w = calloc(1, sizeof(*w));

	if (!w)
		return lx_err_oom(err);
	int r = uv_poll_init(loop, &w->poll, fd);

	if (r < 0) {
		free(w);
		return lx_err_errno(err, r, "cannot watch a descriptor");
	}
	w->poll.data = w;
	w->cb = cb;
	w->arg = arg;
	lx_fdwatch_set(w, events);
	*ret = w;
	return 0;
}

void lx_fdwatch_set(struct lx_fdwatch *w, int events)
{
	if (events)
		uv_poll_start(&w->poll, events, on_poll);
	else
		uv_poll_stop(&w->poll);
}

void lx_fdwatch_stop(struct lx_fdwatch *w)
{
	if (!w)
		return;
	w->cb = NULL;
	uv_close((uv_handle_t *)&w->poll, free_handle);
}

static void on_timer(uv_timer_t *timer)
{
	struct lx_timer *t = timer->data;

	if (t->cb)
		t->cb(t->arg);
}

int lx_timer_start(uv_loop_t *loop, uint64_t ms, uint64_t repeat_ms, lx_timer_cb cb, void *arg,
		   struct lx_timer **ret, struct lx_err *err)
{
	struct lx_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return lx_err_oom(err);
	t->cb = cb;
	t->arg = arg;
	uv_timer_init(loop, &t->timer);
	t->timer.data = t;
	/* The loop's idea of now may be as old as its last wake-up. */
	uv_update_time(loop);
	uv_timer_start(&t->timer, on_timer, ms, repeat_ms);
	*ret = t;
	return 0;
}

void lx_timer_stop(struct lx_timer *t)
{
	if (!t)
		return;
	t->cb = NULL;
	uv_close((uv_handle_t *)&t->timer, free_handle);
}

/* ------------------------------------------------------------------ background work */

struct work {
	uv_work_t req;
	lx_work_cb work;
	lx_work_cb done;
	void *arg;
};

static void run_work(uv_work_t *req)
{
	struct work *w = req->data;

	w->work(w->arg);
}

static void end_work(uv_work_t *req, int status)
{
	struct work *w = req->data;

	w->done(w->arg);
	free(w);
}

int lx_loop_work(uv_loop_t *loop, lx_work_cb work, lx_work_cb done, void *arg, struct lx_err *err)
{
	struct work *w = calloc(1, sizeof(*w));

	if (!w)
		return lx_err_oom(err);
	*w = (struct work){ .req.data = w, .work = work, .done = done, .arg = arg };
	int r = uv_queue_work(loop, &w->req, run_work, end_work);

	if (r < 0) {
		free(w);
		return lx_err_errno(err, r, "cannot start background work");
	}
	return 0;
}

struct removal {
	struct lx_err err;
	int r;
	char path[];
};

static void remove_work(void *arg)
{
	struct removal *rm = arg;

	rm->r = lx_rm_rf(rm->path, &rm->err);
}

static void remove_done(void *arg)
{
	struct removal *rm = arg;

	if (rm->r < 0)
		lx_warn("cannot remove what is left over", "path=%s error=\"%s\"", rm->path, rm->err.msg);
	free(rm);
}

void lx_loop_remove_tree(uv_loop_t *loop, const char *path)
{
	struct lx_err err = LX_ERR_INIT;
	struct removal *rm = calloc(1, sizeof(*rm) + strlen(path) + 1);

	if (!rm)
		lx_err_oom(&err);
	else
		memcpy(rm->path, path, strlen(path) + 1);
	if (!rm || lx_loop_work(loop, remove_work, remove_done, rm, &err) < 0) {
		lx_warn("cannot remove what is left over", "path=%s error=\"%s\"", path, err.msg);
		free(rm);
	}
}
