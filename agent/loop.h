/*
 * Handles of the loop that can be dropped at any moment, also from within their own
 * callback: after the stop function has returned the callback never runs again, and the
 * memory goes when libuv is done with it. All stop functions take NULL.
 */
#ifndef LX_AGENT_LOOP_H
#define LX_AGENT_LOOP_H

#include <stdint.h>

#include <uv.h>

#include "lib/err.h"

/* Watches a descriptor that stays the caller's: stop first, then close it. */
struct lx_fdwatch;
/* `events`: UV_READABLE and/or UV_WRITABLE; both when the descriptor has an error to tell. */
typedef void (*lx_fdwatch_cb)(void *arg, int events);

int lx_fdwatch_start(uv_loop_t *loop, int fd, int events, lx_fdwatch_cb cb, void *arg,
		     struct lx_fdwatch **ret, struct lx_err *err);
/* What to wait for from now on; 0: nothing. */
void lx_fdwatch_set(struct lx_fdwatch *w, int events);
void lx_fdwatch_stop(struct lx_fdwatch *w);

struct lx_timer;
typedef void (*lx_timer_cb)(void *arg);

/* Runs cb in `ms`, and then every `repeat_ms` unless that is 0. */
int lx_timer_start(uv_loop_t *loop, uint64_t ms, uint64_t repeat_ms, lx_timer_cb cb, void *arg,
		   struct lx_timer **ret, struct lx_err *err);
void lx_timer_stop(struct lx_timer *t);

/* Stops *p and forgets it: for members. */
#define lx_fdwatch_drop(p)                                                                                   \
	do {                                                                                                 \
		lx_fdwatch_stop(*(p));                                                                       \
		*(p) = NULL;                                                                                 \
	} while (0)
#define lx_timer_drop(p)                                                                                     \
	do {                                                                                                 \
		lx_timer_stop(*(p));                                                                         \
		*(p) = NULL;                                                                                 \
	} while (0)

/* Runs `work` in a thread of libuv's pool, then `done` on the loop. `work` owns nothing shared. */
typedef void (*lx_work_cb)(void *arg);
int lx_loop_work(uv_loop_t *loop, lx_work_cb work, lx_work_cb done, void *arg, struct lx_err *err);

/* lx_rm_rf in the background, logged when it fails. `path` is copied. */
void lx_loop_remove_tree(uv_loop_t *loop, const char *path);

#endif
