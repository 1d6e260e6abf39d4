/*
 * On which processors a guest's threads want to run (sched_setaffinity(2)): CRIU does not carry it.
 *
 * A thread that has never said so runs wherever the instance may. What tells it from others is that it has
 * init's processors; so those that all of a guest has from its init (CPUAffinity= of system.conf) are not
 * carried.
 */
#ifndef LX_MIGRATION_AFFINITY_H
#define LX_MIGRATION_AFFINITY_H

#include <sys/types.h>

#include "lib/err.h"
#include "lxmgr/v1/migration.pb-c.h"

#define LX_GUEST_AFFINITIES_MAX 65536u

/* Of the threads of these processes, which stand still. Adds to out->affinities. */
int lx_affinity_save(pid_t init, const pid_t *pids, size_t n, Lxmgr__V1__GuestState *out, struct lx_err *err);
/*
 * For threads that were restored, with the numbers that they had. Does all that it can; returns how many
 * threads have got theirs. One whose processors this node has not, or the instance may not use, runs wherever
 * it may.
 */
unsigned lx_affinity_load(const pid_t *pids, size_t n, const Lxmgr__V1__GuestState *state);

#endif
