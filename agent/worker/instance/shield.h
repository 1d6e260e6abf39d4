/*
 * Keeps the worker's program out of the reach of guests. Before a process of the worker has become the
 * guest's (init at a start, a command at an exec) it can be seen there, and a guest can make it
 * execute itself ("#!/proc/self/exe"). A privileged guest's root owns that file: through
 * /proc/PID/exe it could write to it, and what it wrote would run as the node's root. So the worker
 * runs from a read-only mount.
 */
#ifndef LX_WORKER_SHIELD_H
#define LX_WORKER_SHIELD_H

#include "lib/err.h"

/* Executes the program anew from there, unless it runs from there already. */
void lx_shield(char **argv);
/* For what must not be done without: FAILED_PRECONDITION naming the instance. */
int lx_shield_check(const char *name, struct lx_err *err);

#endif
