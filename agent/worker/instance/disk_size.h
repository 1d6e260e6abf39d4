/* The size of the root disk: what an instance's own files may take (agent/worker/disk_quota.h). */
#ifndef LX_WORKER_DISK_SIZE_H
#define LX_WORKER_DISK_SIZE_H

#include "agent/worker/instance/job.h"
#include "agent/worker/instance/spec.h"

/*
 * Before anything of it runs, and before files come into it: its own files are counted where that can
 * be, and bounded as the specification says. FAILED_PRECONDITION where they cannot be bounded.
 */
int lx_disk_size_prepare(const struct lx_job *job, const lx_spec *spec, struct lx_err *err);
/*
 * From what `old` says to what `new` does, at once, also below what is taken. 1: not now, the next start sets
 * it or is refused.
 */
int lx_disk_size_change(const struct lx_job *job, const lx_spec *old, const lx_spec *new, struct lx_err *err);
/* After such a change, when something else was refused. */
void lx_disk_size_put_back(const struct lx_job *job, const lx_spec *old, const lx_spec *new);

#endif
