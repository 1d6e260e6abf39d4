/*
 * A directory or file of the node for a guest: a detached copy of its mount with the guest's ids laid
 * over it, so that the guest's root owns what the node's root owns (a privileged guest's is the node's).
 *
 * That is also the danger: what the guest's root makes there belongs to the node's root, a program
 * with the set-uid bit too. Inside such programs gain nothing (nosuid). On the node somebody could
 * run one, so a directory that can be written must be out of reach of the node's users, or lie on
 * a file system mounted nosuid.
 *
 * Ways to fail: no such source, one that is in reach, a file system without id-mapped mounts.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/worker/instance/devices.h"
#include "lib/cleanup.h"

/* Its place from the root on. */
static int real_path(int fd, char out[LX_JOB_PATH_MAX])
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, out, LX_JOB_PATH_MAX - 1);

	if (n < 0)
		return -errno;
	out[n] = '\0';
	return out[0] == '/' && n < LX_JOB_PATH_MAX - 1 ? 0 : -ENAMETOOLONG;
}

/* Is there a directory of root's above it that lets nobody else pass? Its own mode the guest may change. */
static bool is_closed(const char *real)
{
	char path[LX_JOB_PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s", real);
	for (;;) {
		*strrchr(path, '/') = '\0';
		if (!*path)
			return false;
		/* Of an access list the group's bits are the most that anybody in it has. */
		if (stat(path, &st) == 0 && st.st_uid == 0 && !(st.st_mode & (S_IXGRP | S_IXOTH)))
			return true;
	}
}

static int check_reach(const struct lx_job *job, const char *name, const struct lx_host_device *d, int fd,
		       struct lx_err *err)
{
	char real[LX_JOB_PATH_MAX];
	struct statvfs fs;

	if (d->readonly)
		return 0;
	int r = real_path(fd, real);

	if (r < 0)
		return lx_err_errno(err, r, "device %s: cannot find where %s leads", name, d->source);
	/* Of mounts below it nothing is known. */
	if (!d->recursive && fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_NOSUID))
		return 0;
	if (is_closed(real))
		return 0;
	r = lx_err_set(
		err, LX_FAILED_PRECONDITION,
		"device %s: users of this node reach %s, where root of %s could leave set-uid programs "
		"for them",
		name, real, job->name);
	lx_err_hint(err,
		    "Close a directory above it to others (owner root, chmod 0700), mount its file system "
		    "nosuid, or set readonly=true.");
	return r;
}

static int explain_map(int errnum, const char *name, const struct lx_host_device *d, struct lx_err *err)
{
	int r;

	if (errnum != EINVAL && errnum != EPERM)
		return lx_err_errno(err, errnum, "device %s: cannot map the ids of %s", name, d->source);
	r = lx_err_set(err, LX_FAILED_PRECONDITION,
		       "device %s: the file system of %s%s cannot be mounted with the guest's ids", name,
		       d->source, d->recursive ? ", or one below it," : "");
	lx_err_hint(err, "The kernel can do it for ext4, xfs and btrfs, and for tmpfs from Linux 6.3 on; put "
			 "the files on one of these.");
	return r;
}

int lx_device_disk_open(const struct lx_job *job, const char *name, const struct lx_host_device *d,
			int userns_fd, bool *ret_file, struct lx_err *err)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | (d->readonly ? MOUNT_ATTR_RDONLY : 0),
		/* Else what the node mounts below it later would come in as it is. */
		.propagation = MS_PRIVATE,
	};
	unsigned deep = d->recursive ? AT_RECURSIVE : 0;
	lx_autoclose int source = lx_device_source_open(name, d, err);
	struct stat st;

	if (source < 0)
		return source;
	if (fstat(source, &st) < 0)
		return lx_err_errno(err, errno, "device %s: cannot look at %s", name, d->source);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION,
				   "device %s: %s is neither a directory nor a file", name, d->source);

		lx_err_hint(err, "A device node is passed with type=unix-char or type=unix-block.");
		return r;
	}
	*ret_file = S_ISREG(st.st_mode);
	int r = check_reach(job, name, d, source, err);

	if (r < 0)
		return r;
	lx_autoclose int tree =
		open_tree(source, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | deep);

	if (tree < 0)
		return lx_err_errno(err, errno, "device %s: cannot clone the mount of %s", name, d->source);
	if (userns_fd >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)userns_fd;
	}
	if (mount_setattr(tree, "", AT_EMPTY_PATH | deep, &attr, sizeof(attr)) < 0)
		return explain_map(errno, name, d, err);
	return lx_move_fd(tree);
}
