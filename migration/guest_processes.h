/*
 * The processes of a guest: those in its cgroup and below it, as they are found at one
 * moment. They come and go meanwhile.
 */
#ifndef LX_MIGRATION_GUEST_PROCESSES_H
#define LX_MIGRATION_GUEST_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"
#include "migration/mounts.h"
#include "migration/proc_text.h"

/* More processes, and directories deep, than any guest is looked into. */
#define LX_GUEST_PROCESSES_MAX 1000000u
#define LX_GUEST_CGROUPS_DEPTH 64

struct lx_guest_process {
	pid_t pid;
	struct lx_proc_status status;
	char unit[LX_PROC_UNIT_MAX];
	bool outside; /* not a descendant of init: it is not moved along */
};

struct lx_guest_processes {
	struct lx_guest_process *p; /* by pid */
	size_t n;
};

/* `cgroup`: the directory. Released by the caller in any case. */
int lx_guest_processes_read(pid_t init, const char *cgroup, struct lx_guest_processes *ret,
			    struct lx_err *err);
void lx_guest_processes_release(struct lx_guest_processes *ps);
/* NULL: it is none of them. */
const struct lx_guest_process *lx_guest_process_find(const struct lx_guest_processes *ps, pid_t pid);

/* Of a process or a thread: its number in the innermost PID namespace; 0: it has ended. */
pid_t lx_guest_number(pid_t pid);

/* Mount namespaces: one process of each, and what it sees. [0] is init's. */
struct lx_guest_mounts {
	struct lx_mounts *tables;
	pid_t *pids;
	uint64_t *ids; /* of the namespaces */
	size_t n;
};

int lx_guest_mounts_read(pid_t init, const struct lx_guest_processes *ps, struct lx_guest_mounts *ret,
			 struct lx_err *err);
void lx_guest_mounts_release(struct lx_guest_mounts *m);

#endif
