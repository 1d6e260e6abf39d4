/*
 * Making, finding and removing snapshots on disk. What is made lies in .work until it is whole; what is
 * removed is moved there first. So whatever is found under a name is complete, and all that a killed
 * worker leaves is in one place.
 */
#include "agent/worker/snapshot/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/snapshot/share.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "proto/pb.h"

#define MAKING     LX_SNAPSHOT_WORK "/new" /* becomes the snapshot */
#define RECORD_MAX (64u << 10)
#define BLOCK      512u /* of st_blocks */

void lx_snapshot_path(const struct lx_job *job, const char *name, const char *leaf, char out[LX_JOB_PATH_MAX])
{
	snprintf(out, LX_JOB_PATH_MAX, "%s/" LX_SNAPSHOTS_DIR "/%s%s%s", job->dir, name, *leaf ? "/" : "",
		 leaf);
}

/* ------------------------------------------------------------------ finding */

int lx_snapshot_load(const struct lx_job *job, const char *name, lx_snapshot **ret, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 };
	char path[LX_JOB_PATH_MAX];
	struct lx_err why = LX_ERR_INIT;

	lx_snapshot_path(job, name, LX_SNAPSHOT_RECORD, path);
	int r = lx_read_file(path, RECORD_MAX, &data, &why);

	if (r == -ENOENT)
		return lx_err_set(err, LX_NOT_FOUND, "%s has no snapshot %s on this node", job->name, name);
	if (r < 0) {
		if (err)
			*err = why;
		return r;
	}
	*ret = lxmgr__v1__snapshot_record__unpack(NULL, data.len, data.data);
	return *ret ? 0 : lx_err_set(err, LX_DATA_LOSS, "%s is damaged: it describes no snapshot", path);
}

int lx_snapshot_open(const struct lx_job *job, const char *name, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];

	lx_snapshot_path(job, name, LX_SNAPSHOT_UPPER, path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? lx_err_errno(err, errno, "cannot open %s", path) : fd;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int lx_snapshot_names(const struct lx_job *job, size_t *ret_n, char ***ret, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];

	*ret_n = 0;
	*ret = NULL;
	lx_job_path(job, path, LX_SNAPSHOTS_DIR);
	lx_autoclosedir DIR *d = opendir(path);

	if (!d)
		return errno == ENOENT ? 0 : lx_err_errno(err, errno, "cannot read %s", path);
	for (struct dirent *e; (e = readdir(d));)
		if (lx_name_check("snapshot", e->d_name, NULL) == 0 &&
		    lx_pb_strv_add(ret_n, ret, e->d_name) < 0)
			return lx_err_oom(err);
	if (*ret_n)
		qsort(*ret, *ret_n, sizeof(**ret), by_name);
	return 0;
}

/* ------------------------------------------------------------------ .work */

int lx_snapshot_work_end(const struct lx_job *job, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_path(job, path, LX_SNAPSHOT_WORK);
	return lx_rm_rf(path, err);
}

int lx_snapshot_work_begin(const struct lx_job *job, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	int r = lx_snapshot_work_end(job, err);

	if (r < 0)
		return r;
	lx_job_path(job, path, LX_SNAPSHOTS_DIR);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return lx_err_errno(err, errno, "cannot make %s", path);
	lx_job_path(job, path, LX_SNAPSHOT_WORK);
	return mkdir(path, 0700) < 0 ? lx_err_errno(err, errno, "cannot make %s", path) : 0;
}

int lx_snapshot_begin(const struct lx_job *job, int *ret_dir, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	int r = lx_snapshot_work_begin(job, err);

	if (r < 0)
		return r;
	lx_job_path(job, path, MAKING);
	r = lx_mkdir_p(path, 0700, err);
	lx_job_path(job, path, MAKING "/" LX_SNAPSHOT_UPPER);
	if (r == 0)
		r = lx_mkdir_p(path, 0700, err);
	if (r < 0)
		return r;
	*ret_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_dir < 0 ? lx_err_errno(err, errno, "cannot open %s", path) : 0;
}

int lx_snapshot_measure(const char *dir, uint64_t *ret, struct lx_err *err)
{
	char *const roots[] = { (char *)(uintptr_t)dir, NULL };
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	const FTSENT *e;
	int r = 0;

	*ret = 0;
	if (!tree)
		return lx_err_errno(err, errno, "cannot read %s", dir);
	while (r == 0 && (e = fts_read(tree))) {
		if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
			r = lx_err_errno(err, e->fts_errno, "cannot read %s", e->fts_path);
		else if (e->fts_info == FTS_D)
			*ret += (uint64_t)e->fts_statp->st_blocks * BLOCK;
		else if (e->fts_info != FTS_DP && e->fts_statp->st_nlink)
			*ret += (uint64_t)e->fts_statp->st_blocks * BLOCK / e->fts_statp->st_nlink;
	}
	(void)fts_close(tree);
	return r;
}

/* ------------------------------------------------------------------ names */

static int sync_names(const struct lx_job *job, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_path(job, path, LX_SNAPSHOTS_DIR);
	int r = lx_fsync_dir(path);

	return r < 0 ? lx_err_errno(err, r, "cannot write %s to disk", path) : 0;
}

int lx_snapshot_drop(const struct lx_job *job, const char *name, struct lx_err *err)
{
	char from[LX_JOB_PATH_MAX], work[LX_JOB_PATH_MAX], to[LX_JOB_PATH_MAX + LX_NAME_MAX + 8];

	lx_snapshot_path(job, name, "", from);
	lx_job_path(job, work, LX_SNAPSHOT_WORK);
	snprintf(to, sizeof(to), "%s/gone-%s", work, name);
	if (rename(from, to) < 0 && errno != ENOENT)
		return lx_err_errno(err, errno, "cannot rename %s", from);
	return 0;
}

int lx_snapshot_rename(const struct lx_job *job, const char *name, const char *new_name, struct lx_err *err)
{
	char from[LX_JOB_PATH_MAX], to[LX_JOB_PATH_MAX], path[LX_JOB_PATH_MAX];
	lx_snapshot *rec = NULL;
	size_t len;
	int r = lx_snapshot_load(job, name, &rec, err);

	if (r < 0)
		return r;
	/* Its name is the directory's; the record follows, and nobody goes by it. */
	lx_snapshot_path(job, name, "", from);
	lx_snapshot_path(job, new_name, "", to);
	if (rename(from, to) < 0)
		r = lx_err_errno(err, errno, "cannot rename %s", from);
	lx_autofree uint8_t *bytes =
		r == 0 && lx_pb_set(&rec->name, new_name) == 0 ? lx_pb_pack(&rec->base, &len) : NULL;

	lx_pb_free(rec);
	if (r < 0)
		return r;
	lx_snapshot_path(job, new_name, LX_SNAPSHOT_RECORD, path);
	r = bytes ? lx_write_file_atomic(path, bytes, len, 0600, err) : lx_err_oom(err);
	return r < 0 ? r : sync_names(job, err);
}

/* Of one that is there already nothing is left but what .work holds. */
static int take_name(const struct lx_job *job, const char *name, struct lx_err *err)
{
	char from[LX_JOB_PATH_MAX], to[LX_JOB_PATH_MAX];
	int r = lx_snapshot_drop(job, name, err);

	if (r < 0)
		return r;
	lx_job_path(job, from, MAKING);
	lx_snapshot_path(job, name, "", to);
	if (rename(from, to) < 0)
		return lx_err_errno(err, errno, "cannot rename %s", from);
	return sync_names(job, err);
}

void lx_snapshot_share(const struct lx_job *job, int from)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_path(job, path, MAKING "/" LX_SNAPSHOT_UPPER);
	lx_tree_share(from, path);
}

int lx_snapshot_commit(const struct lx_job *job, lx_snapshot *rec, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	size_t len;

	lx_job_path(job, path, MAKING "/" LX_SNAPSHOT_UPPER);
	int r = lx_snapshot_measure(path, &rec->size_bytes, err);

	if (r < 0)
		return r;
	lx_autofree uint8_t *bytes = lx_pb_pack(&rec->base, &len);

	lx_job_path(job, path, MAKING "/" LX_SNAPSHOT_RECORD);
	r = bytes ? lx_write_file_atomic(path, bytes, len, 0600, err) : lx_err_oom(err);
	return r < 0 ? r : take_name(job, rec->name, err);
}
