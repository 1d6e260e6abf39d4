/* Deleting and renaming snapshots, and tidying up after a worker that was killed over one. */
#include <unistd.h>

#include "agent/worker/instance/cgroup.h"
#include "agent/worker/instance/run.h"
#include "agent/worker/snapshot/snapshot.h"
#include "agent/worker/snapshot/store.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

/* Gone for everybody when all are in .work; removing them there may take a while, or be left to a sweep. */
int lx_job_delete_snapshots(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	const Lxmgr__V1__DeleteSnapshotsJob *what = job->msg->delete_snapshots;
	int r = lx_snapshot_work_begin(job, err);

	for (size_t i = 0; r == 0 && i < what->n_names; i++) {
		r = lx_name_check("snapshot", what->names[i], err);
		if (r == 0)
			r = lx_snapshot_drop(job, what->names[i], err);
	}
	if (r == 0)
		r = lx_snapshot_work_end(job, err);
	if (r < 0)
		lx_err_wrap(err, "cannot delete snapshots of %s", job->name);
	return r;
}

int lx_job_rename_snapshot(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	const Lxmgr__V1__RenameSnapshotJob *what = job->msg->rename_snapshot;
	lx_snapshot *there = NULL;
	int r = lx_name_check("snapshot", what->name, err);

	if (r == 0)
		r = lx_name_check("snapshot", what->new_name, err);
	if (r < 0)
		return r;
	/* Done before, and asked again. */
	if (lx_snapshot_load(job, what->name, &there, NULL) < 0 &&
	    lx_snapshot_load(job, what->new_name, &there, NULL) == 0) {
		lx_pb_free(there);
		return 0;
	}
	lx_pb_free(there);
	/* One of that name the manager does not know. */
	r = lx_snapshot_work_begin(job, err);
	if (r == 0)
		r = lx_snapshot_drop(job, what->new_name, err);
	if (r == 0)
		r = lx_snapshot_rename(job, what->name, what->new_name, err);
	if (r == 0)
		r = lx_snapshot_work_end(job, err);
	if (r < 0)
		lx_err_wrap(err, "cannot rename snapshot %s of %s", what->name, job->name);
	return r;
}

static int thaw(const struct lx_job *job, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	struct lx_cgroups cg;
	struct lx_run run;

	lx_job_path(job, path, LX_SNAPSHOT_FROZEN);
	if (!lx_path_exists(path))
		return 0;
	int r = lx_run_find(job, &run, err);

	if (r <= 0)
		return r;
	r = lx_cgroups_find(&cg, err);
	return r < 0 ? r : lx_cgroup_freeze(&cg, job, false, err);
}

int lx_job_mend_snapshots(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	const lx_spec *spec;
	/* First, so that it runs on whatever the disk is like. */
	int r = thaw(job, err);

	if (r == 0)
		r = lx_spec_of_job(job, &spec, err);
	if (r == 0)
		r = lx_restoration_settle(job, spec, err);
	if (r == 0)
		r = lx_snapshot_work_end(job, err);
	if (r < 0)
		lx_err_wrap(err, "cannot tidy up after a snapshot of %s", job->name);
	return r;
}
