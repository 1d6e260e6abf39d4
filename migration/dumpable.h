/*
 * Whether CRIU can dump a guest that stands still as it stands. What it cannot dump here is not what
 * preflight finds (preflight.h): it passes as soon as the processes have run for a moment, and comes again.
 *
 *   - A thread that waits uninterruptibly cannot be seized (ptrace(2)). Frozen ones do when they have called
 *     vfork(2), as shells do, and the child has not come to its execve(2).
 *   - Messages that wait in certain sockets cannot be written down: lx_sockets_unread().
 */
#ifndef LX_MIGRATION_DUMPABLE_H
#define LX_MIGRATION_DUMPABLE_H

#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"

enum lx_dumpable {
	LX_DUMPABLE,
	LX_DUMPABLE_NOT_SEIZED, /* a thread that cannot be */
	LX_DUMPABLE_UNREAD,     /* messages */
};

/* `pids`: all its processes, numbers as seen from here. Those that are gone are passed over. */
int lx_dumpable(const pid_t *pids, size_t n, enum lx_dumpable *ret, struct lx_err *err);

#endif
