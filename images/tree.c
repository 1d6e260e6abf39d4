/* Files in a root file system, through the same jail that archives are unpacked in. */
#include "images/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/jail.h"
#include "images/walk.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

/* A path that names an entry of an open directory, for functions that take paths. */
#define FD_PATH_MAX (32 + LX_ENTRY_NAME_MAX + 2)

static int remove_in(int dir, const char *name, struct lx_err *err)
{
	char path[FD_PATH_MAX];

	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	return lx_rm_rf(path, err);
}

int lx_tree_dir(int root, const char *path, mode_t mode, struct lx_err *err)
{
	struct lx_jail jail;
	const char *name;

	lx_jail_init(&jail, root);
	int dir = lx_jail_parent(&jail, path, &name, err), r = dir < 0 ? dir : 0;

	if (r == 0 && mkdirat(dir, name, mode) < 0 && errno != EEXIST)
		r = lx_err_errno(err, errno, "cannot create directory %s", path);
	/* The umask has had its say. */
	if (r == 0 && fchmodat(dir, name, mode, 0) < 0)
		r = lx_err_errno(err, errno, "cannot set the mode of %s", path);
	lx_jail_release(&jail);
	return r;
}

int lx_tree_file(int root, const char *path, mode_t mode, const void *data, size_t len, struct lx_err *err)
{
	struct lx_jail jail;
	const char *name;
	lx_autoclose int fd = -1;

	lx_jail_init(&jail, root);
	int dir = lx_jail_parent(&jail, path, &name, err);
	int r = dir < 0 ? dir : remove_in(dir, name, err);

	if (r == 0) {
		fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		ssize_t n = fd < 0 ? -errno : lx_write_full(fd, data, len);

		if (n >= 0 && fchmod(fd, mode) < 0)
			n = -errno;
		if (n < 0)
			r = lx_err_errno(err, (int)n, "cannot write %s", path);
	}
	lx_jail_release(&jail);
	return r;
}

int lx_tree_text(int root, const char *path, mode_t mode, const char *text, struct lx_err *err)
{
	return lx_tree_file(root, path, mode, text, strlen(text), err);
}

int lx_tree_link(int root, const char *path, const char *target, struct lx_err *err)
{
	struct lx_jail jail;
	const char *name;

	lx_jail_init(&jail, root);
	int dir = lx_jail_parent(&jail, path, &name, err);
	int r = dir < 0 ? dir : remove_in(dir, name, err);

	if (r == 0 && symlinkat(target, dir, name) < 0)
		r = lx_err_errno(err, errno, "cannot create %s", path);
	lx_jail_release(&jail);
	return r;
}

/* ------------------------------------------------------------------ removing */

static int open_dir(int root, const char *path)
{
	struct lx_jail jail;

	lx_jail_init(&jail, root);
	return lx_jail_open(&jail, path, O_RDONLY | O_DIRECTORY);
}

static bool absent(int r)
{
	/* Behind a link or a file there is nothing of the tree's own. */
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP;
}

int lx_tree_remove(int root, const char *path, struct lx_err *err)
{
	const char *slash = strrchr(path, '/');
	lx_autofree char *parent = strndup(path, slash ? (size_t)(slash - path) : 0);

	if (!parent)
		return lx_err_oom(err);
	lx_autoclose int dir = open_dir(root, parent);

	if (dir < 0)
		return absent(dir) ? 0 : lx_err_errno(err, dir, "cannot open %s", parent);
	return remove_in(dir, slash ? slash + 1 : path, err);
}

int lx_tree_empty(int root, const char *path, struct lx_err *err)
{
	int fd = open_dir(root, path), r = 0;

	if (fd < 0)
		return absent(fd) ? 0 : lx_err_errno(err, fd, "cannot open %s", path);
	lx_autoclosedir DIR *d = fdopendir(fd);

	if (!d) {
		r = lx_err_errno(err, errno, "cannot read %s", path);
		close(fd);
		return r;
	}
	for (struct dirent *e; r == 0 && (e = readdir(d));)
		if (!lx_streq(e->d_name, ".") && !lx_streq(e->d_name, ".."))
			r = remove_in(fd, e->d_name, err);
	return r;
}

/* ------------------------------------------------------------------ times */

static bool newer(const struct stat *st, int64_t epoch)
{
	return st->st_mtim.tv_sec > epoch || (st->st_mtim.tv_sec == epoch && st->st_mtim.tv_nsec > 0);
}

static int clamp(void *arg, const struct lx_walk_entry *e, struct lx_err *err)
{
	int64_t epoch = *(int64_t *)arg;
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = epoch } };

	if (newer(e->st, epoch) && utimensat(e->dir, e->name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return lx_err_errno(err, errno, "cannot set the time of %s", e->path);
	return 0;
}

int lx_tree_clamp_times(int root, int64_t epoch, struct lx_err *err)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = epoch } };
	int r = lx_walk(root, clamp, &epoch, err);

	if (r == 0 && futimens(root, times) < 0)
		r = lx_err_errno(err, errno, "cannot set the time of the root directory");
	return r;
}
