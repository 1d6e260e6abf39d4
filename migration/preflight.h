/*
 * Preflight: everything that would keep a running instance from being moved live, found from
 * outside while it runs and without touching it. Each obstacle names its cause (process,
 * unit, mount, socket, file) and a cure.
 *
 * Reading /proc is one thing (preflight_scan.c: I/O), judging what was read another
 * (preflight_judge.c: pure functions on texts).
 */
#ifndef LX_MIGRATION_PREFLIGHT_H
#define LX_MIGRATION_PREFLIGHT_H

#include <sys/types.h>

#include "migration/migration.h"

/* Called for each obstacle; borrowed. A negative errno ends the check. */
typedef int (*lx_obstacle_fn)(void *arg, const Lxmgr__V1__MoveObstacle *o, struct lx_err *err);

struct lx_preflight_guest {
	pid_t init;         /* on this node */
	const char *cgroup; /* the payload's directory in the v2 hierarchy: its processes are those in and
			       below it */
	const char *cgroup_mount; /* where the v2 hierarchy is mounted: to name units by cgroup */
};

/*
 * Looks at every process of the guest. Codes (MoveObstacle.code), each blocking unless said:
 * "nested-namespace", "io-uring", "bpf", "perf-event", "kvm", "dri", "fuse", "tty-host",
 * "mount", "socket-mptcp", "socket-sctp", "socket-vsock", "unix-peer", "traced",
 * "outside-process" (not a descendant of init: started by exec; not blocking: ended),
 * "ghost-file", "hugetlb", "device", "aio", "packet-socket" as CRIU 4.2 cannot dump them.
 */
int lx_preflight_scan(const struct lx_preflight_guest *g, lx_obstacle_fn fn, void *arg, struct lx_err *err);

#endif
