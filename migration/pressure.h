/*
 * Pressure triggers of a guest that was restored (Documentation/accounting/psi.rst).
 *
 * A program that wants to be told of pressure writes a threshold into an open pressure file and
 * polls it. The kernel shows that threshold to nobody, so a restored file has none, and polling a
 * file without one says "error, urgent" for ever: systemd 260 and newer, which watches CPU
 * and input/output beside memory, would turn in its loop and take a tenth of a CPU.
 */
#ifndef LX_MIGRATION_PRESSURE_H
#define LX_MIGRATION_PRESSURE_H

#include <sys/types.h>

#include "lib/err.h"

/*
 * Gives every pressure file, of a cgroup or the system, that these processes hold open for writing a trigger
 * again: systemd's default, 200 ms in 2 s. What waits for it with epoll was registered before that and is not
 * woken by it: such a watch is silent until the program sets it up anew. A file that has its
 * trigger is left alone. Does all it can; the first failure is returned. `ret`: how many; may be NULL.
 */
int lx_pressure_rearm(const pid_t *pids, size_t n, unsigned *ret, struct lx_err *err);

#endif
