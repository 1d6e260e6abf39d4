/*
 * Taking a snapshot.
 *
 *   what there is is copied while the instance runs on
 *   it is frozen; what has changed since is copied; it is thawed
 *   what was copied is compared and written to disk, and becomes the snapshot
 *
 * One that is stopped, or frozen by somebody, is copied in one go. Ways to fail: the disk; the guest ends
 * meanwhile, or is written to from outside (a file pushed into it). Then it is thawed, and nothing is left.
 * A worker that is killed leaves .work, in which a file says that the guest stands still: change.c mends it.
 */
#include "agent/worker/snapshot/snapshot.h"

#include <errno.h>
#include <unistd.h>

#include "agent/worker/instance/cgroup.h"
#include "agent/worker/instance/own_tree.h"
#include "agent/worker/instance/run.h"
#include "agent/worker/snapshot/copy.h"
#include "agent/worker/snapshot/store.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "migration/guest_processes.h"
#include "proto/pb.h"

struct making {
	const struct lx_job *job;
	struct lx_cgroups cg;
	struct lx_run run;
	bool moving; /* it runs, and nobody has frozen it */
	struct lx_tree_copy copy;
};

/* ------------------------------------------------------------------ standing still */

/* The note first: whoever finds it thaws. */
static int freeze(struct making *k, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_path(k->job, path, LX_SNAPSHOT_FROZEN);
	int r = lx_write_file_volatile(path, "", 0, 0600, err);

	return r < 0 ? r : lx_cgroup_freeze(&k->cg, k->job, true, err);
}

static int thaw(struct making *k, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	int r = lx_cgroup_freeze(&k->cg, k->job, false, err);

	lx_job_path(k->job, path, LX_SNAPSHOT_FROZEN);
	if (r == 0)
		(void)unlink(path);
	return r;
}

/* Files whose pages are mapped may change without a trace in their times. */
static int note_mapped(struct making *k, struct lx_err *err)
{
	struct lx_guest_processes ps = { 0 };
	char payload[LX_JOB_PATH_MAX];

	lx_cgroup_path(&k->cg, k->cg.v2, k->job, "/payload", payload);
	int r = lx_guest_processes_read(k->run.init, payload, &ps, err);
	lx_autofree pid_t *pids = r == 0 ? calloc(ps.n + 1, sizeof(*pids)) : NULL;

	if (r == 0 && !pids)
		r = lx_err_oom(err);
	for (size_t i = 0; r == 0 && i < ps.n; i++)
		pids[i] = ps.p[i].pid;
	if (r == 0)
		r = lx_tree_sender_mapped_by(k->copy.from, pids, ps.n, err);
	lx_guest_processes_release(&ps);
	return r;
}

/* ------------------------------------------------------------------ copying */

static int copy_moving(struct making *k, struct lx_err *err)
{
	struct lx_err why = LX_ERR_INIT;
	int r = lx_tree_copy_pass(&k->copy, false, err);

	if (r == 0)
		r = freeze(k, err);
	if (r == 0)
		r = note_mapped(k, err);
	if (r == 0)
		r = lx_tree_copy_pass(&k->copy, true, err);
	/* Whatever happened. */
	if (thaw(k, &why) < 0 && r == 0) {
		if (err)
			*err = why;
		r = lx_code_errno(why.code);
	}
	return r;
}

static int copy(struct making *k, const struct lx_tree_source *source, int dir, struct lx_err *err)
{
	int r = lx_tree_copy_open(&k->copy, source, dir, err);

	if (r == 0)
		r = k->moving ? copy_moving(k, err) : lx_tree_copy_pass(&k->copy, true, err);
	if (r == 0)
		r = lx_tree_copy_end(&k->copy, err);
	lx_tree_copy_release(&k->copy);
	return r;
}

static int take(struct making *k, lx_snapshot *rec, const lx_spec *spec, struct lx_err *err)
{
	struct lx_tree_source source = LX_OWN_TREE_NONE;
	lx_autoclose int dir = -1;
	int r = lx_own_tree_open(k->job, spec, &source, err);

	if (r == 0)
		r = lx_snapshot_begin(k->job, &dir, err);
	rec->created_at_ns = (int64_t)lx_now_realtime_ns();
	if (r == 0)
		r = copy(k, &source, dir, err);
	if (r == 0)
		lx_snapshot_share(k->job, source.upper);
	if (r == 0)
		r = lx_snapshot_commit(k->job, rec, err);
	lx_own_tree_close(&source);
	return r;
}

/* ------------------------------------------------------------------ the verb */

static int look(struct making *k, struct lx_err *err)
{
	int r = lx_cgroups_find(&k->cg, err);

	if (r == 0)
		r = lx_run_find(k->job, &k->run, err);
	k->moving = r == 1 && !lx_cgroup_frozen(&k->cg, k->job);
	return r < 0 ? r : 0;
}

/* Of operations that nobody waits for any more. */
static int drop_unknown(const struct lx_job *job, size_t n_known, char *const *known, struct lx_err *err)
{
	char **names;
	size_t n;
	int r = lx_snapshot_names(job, &n, &names, err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		bool is_known = false;

		for (size_t k = 0; k < n_known; k++)
			is_known |= lx_streq(known[k], names[i]);
		if (!is_known)
			r = lx_snapshot_drop(job, names[i], err);
	}
	lx_pb_strv_free(&n, &names);
	return r;
}

/* 1: it is there, of this operation; a worker before this one has made it. */
static int find_made(const struct lx_job *job, const char *name, const char *operation, lx_snapshot **ret)
{
	if (lx_snapshot_load(job, name, ret, NULL) < 0)
		return 0;
	if (lx_streq((*ret)->operation, operation))
		return 1;
	lx_pb_free(*ret);
	*ret = NULL;
	return 0;
}

static int describe(const Lxmgr__V1__CreateSnapshotJob *what, const lx_spec *spec, lx_snapshot **ret,
		    struct lx_err *err)
{
	lx_snapshot *rec = malloc(sizeof(*rec));

	if (!rec)
		return lx_err_oom(err);
	lxmgr__v1__snapshot_record__init(rec);
	if (lx_pb_set(&rec->name, what->name) < 0 || lx_pb_set(&rec->operation, what->operation) < 0 ||
	    lx_pb_set(&rec->image_fingerprint, spec->image_fingerprint) < 0) {
		lx_pb_free(rec);
		return lx_err_oom(err);
	}
	*ret = rec;
	return 0;
}

/* But for one that could not be thawed: that is for the agent to see to, who finds the note. */
static void end_work(const struct lx_job *job)
{
	char path[LX_JOB_PATH_MAX];
	struct lx_err err = LX_ERR_INIT;

	lx_job_path(job, path, LX_SNAPSHOT_FROZEN);
	if (!lx_path_exists(path) && lx_snapshot_work_end(job, &err) < 0)
		lx_warn("cannot remove what a snapshot has left", "instance=%s error=\"%s\"", job->name,
			err.msg);
}

static int make(struct lx_job *job, const Lxmgr__V1__CreateSnapshotJob *what, lx_snapshot **ret,
		struct lx_err *err)
{
	struct making k = { .job = job };
	const lx_spec *spec;
	int r = lx_spec_of_job(job, &spec, err);

	if (r == 0)
		r = lx_snapshot_work_begin(job, err);
	if (r == 0)
		r = drop_unknown(job, what->n_known, what->known, err);
	if (r == 0)
		r = look(&k, err);
	if (r == 0)
		r = describe(what, spec, ret, err);
	if (r == 0)
		r = take(&k, *ret, spec, err);
	end_work(job);
	return r;
}

int lx_job_create_snapshot(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	const Lxmgr__V1__CreateSnapshotJob *what = job->msg->create_snapshot;
	int r = lx_name_check("snapshot", what->name, err);

	if (r < 0)
		return r;
	/* The end of the process frees it. */
	if (find_made(job, what->name, what->operation, &result->snapshot) == 1)
		return 0;
	r = make(job, what, &result->snapshot, err);
	if (r < 0)
		lx_err_wrap(err, "cannot take snapshot %s of %s", what->name, job->name);
	return r;
}
