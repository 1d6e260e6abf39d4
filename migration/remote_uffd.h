/*
 * A userfaultfd(2) that another process makes for us: only the process itself can, so it is made
 * to call (remote_call.h), we take the descriptor over, and it keeps nothing.
 *
 * A caller that is killed while the process executes the call would leave it with registers that
 * are not its own. So a child makes it, in a process group of its own, which takes a few
 * milliseconds, and comes to its end also when we do not.
 */
#ifndef LX_MIGRATION_REMOTE_UFFD_H
#define LX_MIGRATION_REMOTE_UFFD_H

#include <sys/types.h>

#include "lib/err.h"

/* The descriptor, the caller's, close-on-exec and non-blocking; or as lx_remote_begin(). */
int lx_remote_uffd(pid_t pid, struct lx_err *err);

#endif
