/*
 * Letting what waits in sockets be read. A log that is written to without a pause is never empty, and CRIU
 * cannot dump it as it stands (lx_sockets_unread()): who writes to it is held for a while, as by a pipe that
 * is full, and all others run on, until it has been read.
 *
 * Writers are stopped by a child of the caller that traces them (PTRACE_INTERRUPT, ptrace(2)): nobody inside
 * sees a signal or a state of job control, and when it ends, however it does, they go on where they were.
 * One that somebody traces already, and one that has something to read itself, is not held.
 *
 *      freeze - lx_drain_begin() - thaw - lx_drain_wait() - freeze - lx_drain_end()
 */
#ifndef LX_MIGRATION_DRAIN_H
#define LX_MIGRATION_DRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"

struct lx_drain {
	pid_t child; /* 0: nobody is held */
};

/*
 * `pids`: all processes of a guest, numbers as seen from here, which stand still; `init`: one in the network
 * namespace they are in. Returns how many are held now; of what an earlier call holds all are let go.
 */
int lx_drain_begin(struct lx_drain *d, pid_t init, const pid_t *pids, size_t n, struct lx_err *err);
/*
 * Until they have nothing unread any more, at most so long. They may run. False: for half a second nothing
 * was read of it.
 */
bool lx_drain_wait(const pid_t *pids, size_t n, unsigned max_ms);
/* All may run again, as far as nothing else holds them. */
void lx_drain_end(struct lx_drain *d);

#endif
