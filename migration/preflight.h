/*
 * Preflight: everything that would keep a running instance from being moved live, found from
 * outside while it runs and without touching it. Each obstacle names its cause (process,
 * unit, mount, socket, file) and a cure.
 *
 * Reading /proc is one thing (preflight_scan.c, preflight_socket.c: I/O), judging what was
 * read another (preflight_judge.c, mounts.c, proc_text.c: pure functions on texts).
 *
 * Codes (MoveObstacle.code), blocking unless said:
 *
 *   nested-namespace   a user, UTS, IPC, PID, cgroup, time or network namespace of its own
 *   io-uring bpf perf-event kvm dri fuse userfaultfd landlock secretmem device anon-file
 *                      a descriptor or mapping that CRIU cannot dump
 *   pidfd              a descriptor of a process that is not moved along
 *   file-outside       a file that lies in no mount of the guest
 *   tty-host           the same for a terminal
 *   ghost-file         deleted but open, and too large to be carried in the dump
 *   socket             of a family or protocol that CRIU cannot dump; of those that are met
 *                      most: socket-mptcp, socket-sctp, socket-vsock
 *   ktls               a TCP connection whose encryption is done by the kernel: not carried
 *   unix-peer          a unix socket whose other end is outside
 *   netlink-group      a netlink socket in a group above 32
 *   mount              a file system that CRIU cannot dump
 *   lxcfs              it has a file of an lxcfs open that has ended, or the node's does not answer
 *   mount-sharing      mounts whose propagation cannot be made again
 *   traced             a process under a debugger
 *   outside-session    a process whose session belongs to a process outside
 *   outside-process    not a descendant of init, started by exec or shell: not blocking, it
 *                      is ended
 *   more               not named for lack of room; blocks if one of those left out does
 */
#ifndef LX_MIGRATION_PREFLIGHT_H
#define LX_MIGRATION_PREFLIGHT_H

#include <stdbool.h>
#include <sys/types.h>

#include "migration/migration.h"

/* Largest deleted file that is carried in a dump (CRIU's ghost-limit), and all of them together. */
#define LX_MOVE_GHOST_MAX       (1024ull * 1024 * 1024)
#define LX_MOVE_GHOST_TOTAL_MAX (4096ull * 1024 * 1024)
/* Obstacles that are named; what is beyond is summed up in a last one. */
#define LX_MOVE_OBSTACLES_MAX 64u

/* Called for each obstacle; borrowed. A negative errno ends the check. */
typedef int (*lx_obstacle_fn)(void *arg, const Lxmgr__V1__MoveObstacle *o, struct lx_err *err);

struct lx_preflight_guest {
	pid_t init;         /* on this node */
	const char *cgroup; /* the payload's directory in the v2 hierarchy, where that is mounted: its
			       processes are those in and below it */
	/* The node's lxcfs, if it has one: whether it serves, or does not answer, and its file system. */
	struct {
		bool serves, silent;
		unsigned int major, minor;
	} lxcfs;
};

/*
 * Looks at every process of the guest. Equal obstacles of one unit are given once, with
 * their number. The caller is single-threaded: it visits the guest's network namespaces for
 * an instant each.
 */
int lx_preflight_scan(const struct lx_preflight_guest *g, lx_obstacle_fn fn, void *arg, struct lx_err *err);

#endif
