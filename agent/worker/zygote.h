/*
 * A worker that only brings others into the world. It has loaded its program and bound it, and
 * each worker is its fork: that is quicker than to load it all once more, and what was written
 * while loading is in memory once, not once for each, which counts where a worker's fork stays
 * (liblxc's monitors).
 *
 *   agent -> zygote   one byte, and with it the socket the new worker is to have
 *   zygote -> agent   the worker's number (pid_t); 0: it could not be made
 *
 * The new one is the agent's child, not the zygote's (CLONE_PARENT), so nothing is different
 * for who watches it.
 */
#ifndef LX_WORKER_ZYGOTE_H
#define LX_WORKER_ZYGOTE_H

#include <sys/types.h>

#include "lib/err.h"

/* The program's second argument. */
#define LX_ZYGOTE_ARGUMENT "zygote"

/*
 * In the program, as a zygote: 1 in a new worker, with its socket as LX_WORKER_FD and in a
 * session of its own; 0 in the zygote when the agent has gone; negative when the agent talks
 * nonsense.
 */
int lx_zygote_serve(void);

/*
 * In the agent, with its end of the zygote's socket: a new worker that has `worker_end`, which
 * stays the caller's. Returns its number. Fails when the zygote has died, or does not answer
 * within a second.
 */
pid_t lx_zygote_fork(int sock, int worker_end, struct lx_err *err);

#endif
