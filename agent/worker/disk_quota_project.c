/*
 * Project quotas: ext4, xfs, and any other file system that has them behind the same calls.
 *
 * The happy path: the first number of the instance's range that nobody has is given to both directories,
 * the kernel moves what they take to that project's account, and whatever is made in them inherits it.
 *
 * Ways to fail: quotas are not switched on; another cluster on the same file system takes the same number
 * at the same moment (then more is on the account than ours, and the next one is tried).
 */
#include "agent/worker/disk_quota.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/quota.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
/* Limits are told in these. */
#define QUOTA_BLOCK 1024u
/* Numbers tried before giving up: a range that is full of others' files is no accident. */
#define TRIES 64u

static int quota(int fd, unsigned cmd, uint32_t id, void *arg)
{
	return syscall(SYS_quotactl_fd, fd, QCMD(cmd, PRJQUOTA), id, arg) < 0 ? -errno : 0;
}

/* ------------------------------------------------------------------ what there is */

static void say(struct lx_quota_can *ret, const char *cause, const char *cure)
{
	snprintf(ret->cause, sizeof(ret->cause), "%s", cause);
	snprintf(ret->cure, sizeof(ret->cure), "%s", cure);
}

static void explain(int fd, struct lx_quota_can *ret)
{
	struct statfs fs = { 0 };

	(void)fstatfs(fd, &fs);
	if (fs.f_type == EXT4_SUPER_MAGIC && ret->counts)
		say(ret, "ext4 counts, but was not mounted with prjquota",
		    "Switch it on (quotaon -P MOUNTPOINT), and mount it with prjquota from now on.");
	else if (fs.f_type == EXT4_SUPER_MAGIC)
		say(ret, "ext4 has no project quotas switched on",
		    "Unmount it, tune2fs -O project -Q prjquota DEVICE, and mount it with prjquota.");
	else if (fs.f_type == XFS_SUPER_MAGIC)
		say(ret, "xfs was not mounted with prjquota",
		    "Unmount it and mount it with prjquota; for the machine's root: rootflags=prjquota.");
	else
		say(ret, "its file system has no project quotas",
		    "Put the state directory on ext4 or xfs mounted with prjquota, or on btrfs with quotas.");
}

static void project_probe(int fd, struct lx_quota_can *ret)
{
	struct fs_quota_statv state = { .qs_version = FS_QSTATV_VERSION1 };

	if (quota(fd, Q_XGETQSTATV, 0, &state) == 0) {
		ret->counts = state.qs_flags & FS_QUOTA_PDQ_ACCT;
		ret->bounds = ret->counts && (state.qs_flags & FS_QUOTA_PDQ_ENFD);
	}
	if (!ret->bounds)
		explain(fd, ret);
}

static int open_own(const char *dir, const char *leaf)
{
	char path[LX_QUOTA_PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, leaf);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* The project that what is made in this directory will have; 0: none. */
static uint32_t project_in(int fd)
{
	struct fsxattr x;
	bool inherits =
		fd >= 0 && ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0 && (x.fsx_xflags & FS_XFLAG_PROJINHERIT);

	return inherits ? x.fsx_projid : 0;
}

/* The project of the instance's own files; 0: none. One that comes from above is the administrator's. */
static uint32_t project_of(const char *dir, int own)
{
	lx_autoclose int above = open_own(dir, "");
	uint32_t project = project_in(own);

	return project == project_in(above) ? 0 : project;
}

static int account(int fd, uint32_t project, struct if_dqblk *ret)
{
	memset(ret, 0, sizeof(*ret));
	int r = quota(fd, Q_GETQUOTA, project, ret);

	/* xfs: nobody has used it yet. */
	return r == -ENOENT ? 0 : r;
}

/* ------------------------------------------------------------------ counting */

static int project_make(const char *dir, struct lx_err *err)
{
	return 0;
}

static int set_project(int fd, uint32_t project, bool is_dir)
{
	struct fsxattr x;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
		return -errno;
	x.fsx_projid = project;
	if (is_dir)
		x.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	return ioctl(fd, FS_IOC_FSSETXATTR, &x) < 0 ? -errno : 0;
}

static int mark_entry(const FTSENT *e, uint32_t project)
{
	lx_autoclose int fd = open(e->fts_accpath, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? -errno : set_project(fd, project, e->fts_info == FTS_D);
}

/* What is in it, from the top down. Links, sockets and device nodes cannot be opened, and have no content. */
static int mark_tree(const char *dir, const char *leaf, uint32_t project, struct lx_err *err)
{
	char path[LX_QUOTA_PATH_MAX];
	char *const roots[] = { path, NULL };

	snprintf(path, sizeof(path), "%s/%s", dir, leaf);
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	const FTSENT *e;
	int r = 0;

	if (!tree)
		return lx_err_errno(err, errno, "cannot read %s", path);
	while (r == 0 && (e = fts_read(tree))) {
		if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
			r = lx_err_errno(err, e->fts_errno, "cannot read %s", e->fts_path);
		else if (e->fts_level > 0 && (e->fts_info == FTS_D || e->fts_info == FTS_F)) {
			int errnum = mark_entry(e, project);

			if (errnum < 0)
				r = lx_err_errno(err, errnum, "cannot set the project of %s", e->fts_path);
		}
	}
	(void)fts_close(tree);
	return r;
}

/* Gives the two directories themselves that project, work without its being inherited; 1: it is another's. */
static int try_project(int upper, int work, uint32_t project)
{
	struct if_dqblk before = { 0 }, after = { 0 };
	int r = account(upper, project, &before);

	if (r < 0)
		return r;
	if (before.dqb_curinodes > 0 || before.dqb_curspace > 0)
		return 1;
	r = set_project(upper, project, true);
	if (r == 0)
		r = set_project(work, project, false);
	if (r == 0)
		r = account(upper, project, &after);
	return r < 0 ? r : after.dqb_curinodes != 2;
}

static int pick_project(int upper, int work, uint32_t first, uint32_t n, uint32_t *ret)
{
	int r = 1;

	for (uint32_t i = 0; i < n && i < TRIES && r == 1; i++) {
		/* Two that collided go on from different places. */
		*ret = first + (i < TRIES / 2 ? i : ((uint32_t)getpid() + i) % n);
		r = try_project(upper, work, *ret);
	}
	return r == 1 ? -EBUSY : r;
}

static int project_count(const char *dir, uint32_t first, uint32_t n, struct lx_err *err)
{
	lx_autoclose int upper = open_own(dir, "upper"), work = open_own(dir, "work");
	struct lx_quota_can can = { 0 };
	uint32_t project;

	if (upper < 0 || work < 0)
		return lx_err_errno(err, upper < 0 ? upper : work, "cannot open %s", dir);
	project_probe(upper, &can);
	if (!can.counts)
		return -ENODATA;
	/* That work passes it on is set last: a tree that was left half-marked is gone over again. */
	if (project_of(dir, upper) && project_of(dir, upper) == project_of(dir, work))
		return 1;
	int r = pick_project(upper, work, first, n, &project);

	if (r < 0)
		return lx_err_errno(err, r, "cannot find a free project number from %u on for %s", first,
				    dir);
	r = mark_tree(dir, "upper", project, err);
	if (r == 0)
		r = mark_tree(dir, "work", project, err);
	if (r == 0 && (r = set_project(work, project, true)) < 0)
		lx_err_errno(err, r, "cannot set the project of %s/work", dir);
	return r;
}

/* ------------------------------------------------------------------ the account */

static int project_read(const char *dir, struct lx_quota_room *ret)
{
	lx_autoclose int upper = open_own(dir, "upper");
	uint32_t project = project_of(dir, upper);
	struct if_dqblk d;

	if (!project || account(upper, project, &d) < 0)
		return -ENODATA;
	ret->used = d.dqb_curspace;
	ret->files = d.dqb_curinodes;
	ret->limit = d.dqb_bhardlimit * QUOTA_BLOCK;
	ret->files_limit = d.dqb_ihardlimit;
	return 0;
}

static int set_limits(int upper, uint32_t project, uint64_t bytes, uint64_t files)
{
	struct if_dqblk d = {
		.dqb_bhardlimit = (bytes + QUOTA_BLOCK - 1) / QUOTA_BLOCK,
		.dqb_ihardlimit = files,
		.dqb_valid = QIF_LIMITS,
	};

	return quota(upper, Q_SETQUOTA, project, &d);
}

static int project_bound(const char *dir, uint64_t bytes, uint64_t files, struct lx_err *err)
{
	lx_autoclose int upper = open_own(dir, "upper");
	uint32_t project = project_of(dir, upper);
	int r = project ? set_limits(upper, project, bytes, files) : -ENODATA;

	return r < 0 ? lx_err_errno(err, r, "cannot bound what project %u may take", project) : 0;
}

/* An account with neither limits nor files is no more. */
static void project_release(const char *dir)
{
	lx_autoclose int upper = open_own(dir, "upper");
	uint32_t project = project_of(dir, upper);

	if (project)
		(void)set_limits(upper, project, 0, 0);
}

const struct lx_quota_ops lx_quota_project = {
	.late = true,
	.probe = project_probe,
	.make = project_make,
	.count = project_count,
	.read = project_read,
	.bound = project_bound,
	.release = project_release,
};
