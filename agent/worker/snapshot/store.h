/*
 * Snapshots as they lie on disk (agent/worker/snapshot_dir.h). One worker at a time works on those of an
 * instance: the agent's tasks see to that.
 */
#ifndef LX_WORKER_SNAPSHOT_STORE_H
#define LX_WORKER_SNAPSHOT_STORE_H

#include "agent/worker/instance/job.h"
#include "agent/worker/snapshot_dir.h"
#include "lxmgr/v1/migration.pb-c.h"

typedef Lxmgr__V1__SnapshotRecord lx_snapshot;

/* Below the instance's directory: snapshots/<name>/<leaf>; leaf "": the directory. */
void lx_snapshot_path(const struct lx_job *job, const char *name, const char *leaf,
		      char out[LX_JOB_PATH_MAX]);
/* NOT_FOUND when there is none. Free with lx_pb_free(). */
int lx_snapshot_load(const struct lx_job *job, const char *name, lx_snapshot **ret, struct lx_err *err);
/* A descriptor of its files, to be read. */
int lx_snapshot_open(const struct lx_job *job, const char *name, struct lx_err *err);
/* All names, ascending. malloc'ed, for lx_pb_strv_free(); also after a failure. */
int lx_snapshot_names(const struct lx_job *job, size_t *ret_n, char ***ret, struct lx_err *err);

/* An empty .work, and its end with all that is in it. */
int lx_snapshot_work_begin(const struct lx_job *job, struct lx_err *err);
int lx_snapshot_work_end(const struct lx_job *job, struct lx_err *err);

/*
 * The same with an empty directory for the files of a snapshot, open; when they are in it and on disk it
 * becomes that of `rec`, in place of one of that name; .work stays, to be ended. `rec` gets its size.
 */
int lx_snapshot_begin(const struct lx_job *job, int *ret_dir, struct lx_err *err);
int lx_snapshot_commit(const struct lx_job *job, lx_snapshot *rec, struct lx_err *err);
/* Before that: it shares blocks with the files in `from` that are equal, where the file system can. */
void lx_snapshot_share(const struct lx_job *job, int from);
/* In a .work: nobody sees it any more. Fine when there is none. */
int lx_snapshot_drop(const struct lx_job *job, const char *name, struct lx_err *err);
int lx_snapshot_rename(const struct lx_job *job, const char *name, const char *new_name, struct lx_err *err);

/* What the files below this directory take on disk. */
int lx_snapshot_measure(const char *dir, uint64_t *ret, struct lx_err *err);

#endif
