/*
 * Waiting on the loop for a descriptor that other processes share.
 *
 * libuv would make it non-blocking, and O_NONBLOCK belongs to the open file, not to us: a
 * shell whose terminal has it reads nothing but errors after we are gone. So the
 * descriptor goes into an epoll set of its own and the loop watches that. Files and
 * /dev/null, which epoll refuses, are always ready.
 */
#ifndef LX_CLI_FDWATCH_H
#define LX_CLI_FDWATCH_H

#include <uv.h>

#include "cli/cli.h"

struct cli_fdwatch {
	int fd, epoll; /* epoll -1: always ready */
	bool on, poll_open, idle_open;
	uv_poll_t poll;
	uv_idle_t idle;
	void (*ready)(struct cli_fdwatch *w);
	void *arg;
};

/* `events`: EPOLLIN or EPOLLOUT. `ready` runs again and again while the watch is on. */
int cli_fdwatch_init(struct cli_fdwatch *w, uv_loop_t *loop, int fd, uint32_t events,
		     void (*ready)(struct cli_fdwatch *w), void *arg, struct lx_err *err);
void cli_fdwatch_set(struct cli_fdwatch *w, bool on);
/* The loop must run once more before the memory goes. */
void cli_fdwatch_close(struct cli_fdwatch *w);

#endif
