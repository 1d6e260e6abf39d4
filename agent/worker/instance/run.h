/* What runs of an instance: its liblxc monitor and its init, and the record that remembers them. */
#ifndef LX_WORKER_RUN_H
#define LX_WORKER_RUN_H

#include <sys/types.h>

#include "agent/worker/instance/job.h"

struct lx_run {
	pid_t monitor, init; /* init is 0 for a moment while the guest reboots */
	uint64_t monitor_start, init_start;
};

/*
 * Is it running? 1, 0 or a negative errno. Processes are those of the record, checked; where
 * the record is missing (a worker was killed before it wrote one) liblxc is asked and the
 * record written anew.
 */
int lx_run_find(const struct lx_job *job, struct lx_run *ret, struct lx_err *err);
/* As above, but only by the record: for what must be fast. */
int lx_run_load(const struct lx_job *job, struct lx_run *ret, struct lx_err *err);
/* As lx_run_load(), with "is not running" as an error. */
int lx_run_require(const struct lx_job *job, struct lx_run *ret, struct lx_err *err);

/*
 * Looks at the monitor and its child and writes the record. `veths` may be NULL; `started_at_ns`: of a
 * restored guest, when it was booted, else 0.
 */
int lx_run_save(const struct lx_job *job, pid_t init, char **veths, size_t n_veths, int64_t started_at_ns,
		struct lx_run *ret, struct lx_err *err);
/* Host ends of the cards it was started with: calls `fn` for each. */
void lx_run_each_veth(const struct lx_job *job, void (*fn)(const char *name, void *arg), void *arg);
void lx_run_forget(const struct lx_job *job);

void lx_run_tell(const struct lx_run *run, Lxmgr__V1__WorkerResult *result);

#endif
