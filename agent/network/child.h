/* A program run to its end: input from memory, output collected, never blocking the loop. */
#ifndef LX_AGENT_NETWORK_CHILD_H
#define LX_AGENT_NETWORK_CHILD_H

#include <stddef.h>

#include <uv.h>

#include "lib/err.h"

/*
 * How it ended: `err` is NULL when it exited with 0, else it says why (its first words on
 * stderr, or that it was killed or took too long). `out` is its standard output, "" when none.
 */
typedef void (*lx_child_cb)(const char *out, const struct lx_err *err, void *arg);

/* argv[0] is looked up in the system's own directories, not in PATH. `input` may be NULL. */
int lx_child_run(uv_loop_t *loop, const char *const argv[], const char *input, lx_child_cb cb, void *arg,
		 struct lx_err *err);

#endif
