/*
 * Places for mounts in a guest's own file system. The guest has prepared it as it liked: a symbolic
 * link on the way would have the mount elsewhere, and mount points made along it by anybody but
 * its own root could be anywhere on the node. So links are refused, and all is done as that root.
 *
 * What lies in /dev is left to liblxc, which makes that anew at each start.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/instance/devices.h"
#include "agent/worker/instance/guest.h"
#include "lib/cleanup.h"
#include "lib/str.h"

struct places {
	const struct lx_devices *devices;
	bool make;
};

static int refuse_link(const char *path, const char *at, struct lx_err *err)
{
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "%s cannot be mounted: %s is a symbolic link in the guest", path, at);

	lx_err_hint(err, "Give the device the path that the link leads to, or remove the link in the guest.");
	return r;
}

static int refuse_kind(const char *path, const char *at, bool directory, struct lx_err *err)
{
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "%s cannot be mounted: %s is %s directory in the guest", path, at,
			   directory ? "a" : "no");

	lx_err_hint(err, "Give the device another path, or remove in the guest what is there.");
	return r;
}

static int make_one(int dir, const char *part, bool directory)
{
	int fd;

	if (directory)
		return mkdirat(dir, part, 0755) < 0 ? -errno : 0;
	fd = openat(dir, part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* 1: it is there; 0: it is not, and neither is what would be below it. */
static int look(int dir, const char *part, const char *path, const char *at, bool directory,
		struct lx_err *err)
{
	struct stat st;

	if (fstatat(dir, part, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : lx_err_errno(err, errno, "cannot look at %s in the guest", at);
	if (S_ISLNK(st.st_mode))
		return refuse_link(path, at, err);
	if (S_ISDIR(st.st_mode) != directory)
		return refuse_kind(path, at, S_ISDIR(st.st_mode), err);
	return 1;
}

static int walk(const struct lx_lxc_mount *m, bool make, struct lx_err *err)
{
	char at[LX_DEVICE_PATH_MAX + 1];
	lx_autoclose int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = 1;

	snprintf(at, sizeof(at), "%s", m->path);
	for (char *part = at + 1, *end; part; part = end ? end + 1 : NULL) {
		end = strchr(part, '/');
		if (end)
			*end = '\0';
		bool directory = end || !m->file;

		r = look(dir, part, m->path, at, directory, err);
		if (r < 0 || (r == 0 && !make))
			return r;
		if (r == 0)
			r = make_one(dir, part, directory);
		if (r < 0)
			return lx_err_errno(err, r, "cannot make %s in the guest", at);
		int next = end ? openat(dir, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

		if (end && next < 0)
			return lx_err_errno(err, errno, "cannot enter %s in the guest", at);
		if (end) {
			close(dir);
			dir = next;
			*end = '/';
		}
	}
	return 0;
}

static int walk_all(void *arg, struct lx_err *err)
{
	const struct places *p = arg;
	int r = 0;

	for (size_t i = 0; i < p->devices->n_mounts && r == 0; i++)
		if (!lx_starts_with(p->devices->mounts[i].path, "/dev/"))
			r = walk(&p->devices->mounts[i], p->make, err);
	return r;
}

int lx_mount_points(const struct lx_devices *d, int root_fd, int userns_fd, bool make, struct lx_err *err)
{
	struct places p = { .devices = d, .make = make };

	return lx_guest_run(root_fd, userns_fd, walk_all, &p, err);
}
