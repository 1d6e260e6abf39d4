/*
 * Descriptors of other processes, from outside: copies had through a pidfd (pidfd_getfd(2)).
 * A copy is the same open file: what is set on it or written to it reaches the process's own.
 */
#ifndef LX_MIGRATION_DESCRIPTORS_H
#define LX_MIGRATION_DESCRIPTORS_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/err.h"

struct lx_descriptors {
	/* Whether to look at what this link of /proc/PID/fd leads to: "socket:[4026]", "/dev/null". */
	bool (*wanted)(const char *target, void *arg);
	/* Gets a copy that is closed afterwards; `number`: the process's own. 0 or a negative errno. */
	int (*each)(int fd, int number, const char *target, void *arg, struct lx_err *err);
	void *arg;
};

/*
 * All wanted descriptors of a process; what is closed meanwhile is passed over, a process that is
 * gone has none. One that fails does not stop the others; the first failure is returned.
 */
int lx_descriptors_each(pid_t pid, const struct lx_descriptors *d, struct lx_err *err);

#endif
