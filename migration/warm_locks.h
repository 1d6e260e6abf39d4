/*
 * Two locks of the kernel's that everybody takes for reading and hardly anybody for writing: of who is
 * in which cgroup (written to by every move between two, and by a new one's controllers) and of file locks
 * (by who reads /proc/locks). They are percpu_rw_semaphores: the first writer waits until every
 * processor has noticed, for a grace period of RCU of ten milliseconds or so; who comes while the last one's
 * is not over waits for nothing (Documentation/locking/percpu-rw-semaphore.rst, kernel/rcu/sync.c). CRIU
 * takes both, a few times, while the guest stands still.
 *
 * So a thread of the worker takes them again and again for as long, and changes nothing by it.
 */
#ifndef LX_MIGRATION_WARM_LOCKS_H
#define LX_MIGRATION_WARM_LOCKS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct lx_warm {
	pthread_t thread;
	int fd;
	char stay[16]; /* a process of the cgroup, or "" */
	bool on;
	atomic_bool stop;
};

/*
 * The first for file locks, the second for cgroups: a process of the one at `dir`, in any hierarchy,
 * is put where it is. Where that cannot be, all takes a little longer, no more. `w` must not move until
 * it is stopped; stopping one that was never started (all zero) or is stopped does nothing.
 */
void lx_warm_file_locks(struct lx_warm *w);
void lx_warm_cgroups(const char *dir, struct lx_warm *w);
void lx_warm_stop(struct lx_warm *w);

#endif
