/*
 * Deleting an instance for good.
 *
 * Its directory is locked and renamed to instances/.deleting-<name>-<n> first, which makes
 * it vanish at once and whole. A crash leaves such a name behind, without the lock: every
 * later deletion sweeps those it finds. No instance can have a name that begins with a dot.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "agent/worker/disk_quota.h"
#include "agent/worker/instance/instance.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"

#define DELETING ".deleting-"

/* Takes a directory for removal; the lock goes with the descriptor. -EWOULDBLOCK: somebody else has it. */
static int lock_dir(const char *path)
{
	lx_autoclose int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return lx_move_fd(fd);
}

static int rename_away(const struct lx_job *job, char to[LX_JOB_PATH_MAX], struct lx_err *err)
{
	for (unsigned n = 0;; n++) {
		snprintf(to, LX_JOB_PATH_MAX, "%s/instances/" DELETING "%s-%u", job->state_dir, job->name, n);
		if (rename(job->dir, to) == 0)
			return 0;
		if (errno != ENOTEMPTY && errno != EEXIST)
			return lx_err_errno(err, errno, "cannot rename %s", job->dir);
	}
}

static int remove_instance(const struct lx_job *job, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	lx_autoclose int lock = lock_dir(job->dir);

	if (lock == -ENOENT)
		return 0;
	if (lock < 0)
		return lx_err_errno(err, lock, "cannot lock %s", job->dir);
	int r = rename_away(job, path, err);

	if (r < 0)
		return r;
	lx_quota_release(path);
	return lx_rm_rf(path, err);
}

/* What earlier deletions left. Failing here is no failure of the instance that is deleted now. */
static void sweep(const struct lx_job *job)
{
	char dir[LX_JOB_PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/instances", job->state_dir);
	lx_autoclosedir DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));) {
		char path[LX_JOB_PATH_MAX + sizeof(e->d_name)];
		struct lx_err err = LX_ERR_INIT;

		if (!lx_starts_with(e->d_name, DELETING))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		lx_autoclose int lock = lock_dir(path);

		if (lock < 0)
			continue;
		lx_quota_release(path);
		if (lx_rm_rf(path, &err) < 0)
			lx_debug("cannot remove what a deletion left", "error=\"%s\"", err.msg);
	}
}

int lx_job_destroy(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	struct lx_cgroups cg;
	int r = lx_cgroups_find(&cg, err);

	if (r == 0)
		r = lx_instance_clean(job, &cg, err);
	if (r == 0)
		r = remove_instance(job, err);
	sweep(job);
	if (r < 0)
		lx_err_wrap(err, "cannot delete %s", job->name);
	return r;
}
