/*
 * Putting a snapshot in the place of an instance's own files, which are stopped. Beside `upper`:
 *
 *   restore.making   the snapshot's files are being copied. Cut short: what was there is there
 *   restore.ready    all of them are there and on disk: from here on forward only
 *   restore.old      what was there before; upper may be missing, until restore.ready is renamed to it
 *
 * The work directory of the overlay is made anew with it: its index speaks of the files before. Until the
 * two have changed places the overlay is held mounted, which nobody else then can: a file that is just being
 * pushed into the instance would go to what is taken away.
 *
 * For that time the root disk is not bounded: old and new files are in it together, and with project quotas
 * an account that is emptied must have no limit to end.
 */
#include "agent/worker/snapshot/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/disk_quota.h"
#include "agent/worker/instance/disk_size.h"
#include "agent/worker/instance/guest.h"
#include "agent/worker/instance/rootfs.h"
#include "agent/worker/instance/run.h"
#include "agent/worker/snapshot/copy.h"
#include "agent/worker/snapshot/share.h"
#include "agent/worker/snapshot/store.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

#define MAKING   "restore.making"
#define READY    "restore.ready"
#define OLD      "restore.old"
#define OLD_WORK "restore.work"

static bool has(const struct lx_job *job, const char *leaf)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_own_path(job, path, leaf);
	return lx_path_exists(path);
}

static int remove_own(const struct lx_job *job, const char *leaf, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_own_path(job, path, leaf);
	return lx_rm_rf(path, err);
}

static int rename_own(const struct lx_job *job, const char *leaf, const char *to, struct lx_err *err)
{
	char a[LX_JOB_PATH_MAX], b[LX_JOB_PATH_MAX];

	lx_job_own_path(job, a, leaf);
	lx_job_own_path(job, b, to);
	return rename(a, b) < 0 ? lx_err_errno(err, errno, "cannot rename %s", a) : 0;
}

static int sync_own(const struct lx_job *job, struct lx_err *err)
{
	char dir[LX_QUOTA_PATH_MAX];

	lx_quota_own_dir(job->dir, dir, sizeof(dir));
	int r = lx_fsync_dir(dir);

	return r < 0 ? lx_err_errno(err, r, "cannot write %s to disk", dir) : 0;
}

/* ------------------------------------------------------------------ changing places */

/* 1: it is mounted, in a mount namespace of this process. An overlay that cannot be is no reason to stop. */
static int hold(const struct lx_job *job, const lx_spec *spec, struct lx_err *err)
{
	struct lx_err why = LX_ERR_INIT;
	lx_autoclose int userns = -1, root = -1;
	int r = lx_spec_userns(spec, &userns, &why);

	if (r == 0)
		r = lx_mounts_private(&why);
	if (r == 0)
		r = lx_rootfs_mount(job, spec, userns, &root, &why);
	if (r == -EBUSY && err)
		*err = why;
	return r == 0 ? 1 : r == -EBUSY ? r : 0;
}

static void let_go(const struct lx_job *job)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_path(job, path, "rootfs");
	(void)umount2(path, MNT_DETACH);
}

static int renew_work(const struct lx_job *job, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	int r = remove_own(job, OLD_WORK, err);

	if (r == 0 && has(job, "work"))
		r = rename_own(job, "work", OLD_WORK, err);
	lx_job_own_path(job, path, "work");
	if (r == 0 && mkdir(path, 0700) < 0)
		r = lx_err_errno(err, errno, "cannot make %s", path);
	return r;
}

static int swap(const struct lx_job *job, struct lx_err *err)
{
	int r = 0;

	if (has(job, "upper"))
		r = rename_own(job, "upper", OLD, err);
	if (r == 0)
		r = renew_work(job, err);
	if (r == 0)
		r = rename_own(job, READY, "upper", err);
	return r < 0 ? r : sync_own(job, err);
}

static int remove_old(const struct lx_job *job, struct lx_err *err)
{
	int r = remove_own(job, OLD, err);

	return r < 0 ? r : remove_own(job, OLD_WORK, err);
}

static int finish(const struct lx_job *job, const lx_spec *spec, struct lx_err *err)
{
	int r = 0;

	if (has(job, READY)) {
		int held = hold(job, spec, err);

		r = held < 0 ? held : swap(job, err);
		if (held > 0)
			let_go(job);
	}
	return r < 0 ? r : remove_old(job, err);
}

static void bound_again(const struct lx_job *job, const lx_spec *spec)
{
	struct lx_err why = LX_ERR_INIT;

	/* Every start does so too, or is refused. */
	if (lx_disk_size_prepare(job, spec, &why) < 0)
		lx_warn("the size of a restored root disk is not bounded", "instance=%s error=\"%s\"",
			job->name, why.msg);
}

int lx_restoration_settle(const struct lx_job *job, const lx_spec *spec, struct lx_err *err)
{
	bool any = has(job, MAKING) || has(job, READY) || has(job, OLD) || has(job, OLD_WORK);
	int r = remove_own(job, MAKING, err);

	if (r == 0)
		r = finish(job, spec, err);
	if (any)
		bound_again(job, spec);
	return r;
}

/* ------------------------------------------------------------------ copying */

static int unbound(const struct lx_job *job, struct lx_err *err)
{
	struct lx_quota_room room;

	return lx_quota_read(job->dir, &room) == 0 && room.limit > 0 ? lx_quota_bound(job->dir, 0, err) : 0;
}

static int copy(const struct lx_job *job, const char *name, const lx_spec *spec, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	struct lx_tree_source source = { .lower = -1, .index = -1, .id_base = lx_spec_id_base(spec) };
	lx_autoclose int from = lx_snapshot_open(job, name, err);
	struct lx_tree_copy c;

	lx_job_own_path(job, path, MAKING);
	if (from < 0)
		return from;
	if (mkdir(path, 0700) < 0)
		return lx_err_errno(err, errno, "cannot make %s", path);
	lx_autoclose int to = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (to < 0)
		return lx_err_errno(err, errno, "cannot open %s", path);
	source.upper = from;
	int r = lx_tree_copy_open(&c, &source, to, err);

	if (r == 0)
		r = lx_tree_copy_pass(&c, true, err);
	if (r == 0)
		r = lx_tree_copy_end(&c, err);
	lx_tree_copy_release(&c);
	if (r == 0)
		lx_tree_share(from, path);
	if (r == 0)
		r = rename_own(job, MAKING, READY, err);
	return r < 0 ? r : sync_own(job, err);
}

/* ------------------------------------------------------------------ the verb */

static int check(const struct lx_job *job, const char *name, const lx_spec *spec, struct lx_err *err)
{
	lx_snapshot *rec = NULL;
	struct lx_run run;
	int r = lx_run_find(job, &run, err);

	if (r == 1)
		return lx_err_set(err, LX_FAILED_PRECONDITION, "%s is running", job->name);
	if (r == 0)
		r = lx_snapshot_load(job, name, &rec, err);
	if (r == 0 && !lx_streq(rec->image_fingerprint, spec->image_fingerprint))
		r = lx_err_set(err, LX_FAILED_PRECONDITION,
			       "snapshot %s was taken over image %.12s, and %s lies over %.12s", name,
			       rec->image_fingerprint, job->name, spec->image_fingerprint);
	lx_pb_free(rec);
	return r;
}

/* So that it is done once, however often it is asked for (the agent looks). */
static int note_done(const struct lx_job *job, const char *operation, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_path(job, path, LX_SNAPSHOT_RESTORED);
	return lx_write_file_atomic(path, operation, strlen(operation), 0600, err);
}

static int put_in_place(const struct lx_job *job, const char *name, const lx_spec *spec, struct lx_err *err)
{
	int held = hold(job, spec, err), r = held < 0 ? held : unbound(job, err);

	if (r == 0)
		r = copy(job, name, spec, err);
	if (r < 0)
		(void)remove_own(job, MAKING, NULL);
	else
		r = swap(job, err);
	if (held > 0)
		let_go(job);
	/* All of the snapshot's files are there: forward. */
	if (r < 0 && has(job, READY))
		r = finish(job, spec, err);
	return r < 0 ? r : remove_old(job, err);
}

static int restore(struct lx_job *job, const Lxmgr__V1__RestoreSnapshotJob *what, struct lx_err *err)
{
	const lx_spec *spec;
	int r = lx_spec_of_job(job, &spec, err);

	if (r == 0)
		r = lx_name_check("snapshot", what->name, err);
	if (r == 0)
		r = check(job, what->name, spec, err);
	if (r == 0)
		r = lx_snapshot_work_begin(job, err);
	if (r < 0)
		return r;
	r = lx_restoration_settle(job, spec, err);
	if (r == 0)
		r = put_in_place(job, what->name, spec, err);
	bound_again(job, spec);
	if (r == 0)
		r = note_done(job, what->operation, err);
	/* What could not be finished stays marked as such: the agent's next start tries again. */
	if (r == 0)
		r = lx_snapshot_work_end(job, err);
	else if (!has(job, READY))
		(void)lx_snapshot_work_end(job, NULL);
	return r;
}

int lx_job_restore_snapshot(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	const Lxmgr__V1__RestoreSnapshotJob *what = job->msg->restore_snapshot;
	int r = restore(job, what, err);

	if (r < 0)
		lx_err_wrap(err, "cannot restore snapshot %s of %s", what->name, job->name);
	return r;
}
