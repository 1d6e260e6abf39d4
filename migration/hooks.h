/*
 * The worker's end of CRIU's steps (hook/main.c): a socket on which each step asks whether
 * CRIU may go on, and is kept waiting until it is answered.
 */
#ifndef LX_MIGRATION_HOOKS_H
#define LX_MIGRATION_HOOKS_H

#include <sys/types.h>

#include "lib/err.h"

#define LX_HOOK_ACTION_MAX 64

struct lx_hook {
	char action[LX_HOOK_ACTION_MAX]; /* "post-dump": CRIU's names, and "stand-in" */
	pid_t init;                      /* of the guest, seen from here; 0: not said */
	int fd;                          /* waits for the answer; -1: answered */
};

/* Listens on `path`; the descriptor can be polled for hooks that come. */
int lx_hooks_open(const char *path, int *ret_fd, struct lx_err *err);
/* Takes the next one. 1, 0 when none is there (any more), or a negative errno. */
int lx_hooks_take(int fd, struct lx_hook *ret, struct lx_err *err);
/* 0: CRIU goes on; else it takes back what it has done. */
void lx_hook_answer(struct lx_hook *hook, unsigned char code);

#endif
