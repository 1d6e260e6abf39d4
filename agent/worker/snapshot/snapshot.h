/*
 * What a worker does with the snapshots of an instance; linked into the move worker, which can carry files.
 *
 *   create.c     taking one, of an instance that runs while it stands still
 *   restore.c    putting one in the place of what is there
 *   change.c     deleting, renaming; what a killed worker has left
 *   store.c      how they lie on disk
 *   copy.c       a tree copied on this node
 *   share.c      a copy that takes no room of its own, where that can be
 */
#ifndef LX_WORKER_SNAPSHOT_H
#define LX_WORKER_SNAPSHOT_H

#include "agent/worker/instance/job.h"
#include "agent/worker/instance/spec.h"

int lx_job_create_snapshot(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_restore_snapshot(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_delete_snapshots(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_rename_snapshot(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_mend_snapshots(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);

/* A restoration that a worker before this one has begun is finished, or nothing of it is left. */
int lx_restoration_settle(const struct lx_job *job, const lx_spec *spec, struct lx_err *err);

#endif
