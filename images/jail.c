/* Walking below a directory, see the header. Linux 5.6 has all that is needed. */
#include "images/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

static int open_beneath(int dir, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	int fd;

	do
		fd = (int)syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? -errno : fd;
}

void lx_jail_init(struct lx_jail *j, int root)
{
	j->root = root;
	j->fd = -1;
	j->path[0] = '\0';
}

void lx_jail_forget(struct lx_jail *j)
{
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
}

void lx_jail_release(struct lx_jail *j)
{
	lx_jail_forget(j);
}

int lx_jail_open(const struct lx_jail *j, const char *path, int flags)
{
	return open_beneath(j->root, path, flags);
}

static int cannot_enter(const char *path, int r, struct lx_err *err)
{
	if (r == -ELOOP)
		return lx_err_set(
			err, LX_INVALID_ARGUMENT,
			"the archive's directory \"%.200s\" is refused: it lies behind a symbolic link",
			path);
	if (r == -ENOTDIR)
		return lx_err_set(
			err, LX_INVALID_ARGUMENT,
			"the archive's directory \"%.200s\" is refused: a part of it is no directory", path);
	return lx_err_errno(err, r, "cannot open directory \"%.200s\"", path);
}

/* Makes the directory component by component; those that are there stay as they are. */
static int make_dirs(int root, const char *path)
{
	lx_autoclose int at = open_beneath(root, "", O_PATH | O_DIRECTORY);

	if (at < 0)
		return at;
	while (*path) {
		char name[LX_ENTRY_NAME_MAX + 1];
		size_t n = strcspn(path, "/");

		memcpy(name, path, n);
		name[n] = '\0';
		if (mkdirat(at, name, 0755) < 0 && errno != EEXIST)
			return -errno;
		int fd = open_beneath(at, name, O_PATH | O_DIRECTORY);

		if (fd < 0)
			return fd;
		close(at);
		at = fd;
		path += n + (path[n] == '/');
	}
	return lx_move_fd(at);
}

int lx_jail_parent(struct lx_jail *j, const char *path, const char **ret_name, struct lx_err *err)
{
	const char *slash = strrchr(path, '/');
	char parent[LX_ENTRY_PATH_MAX];
	size_t n = slash ? (size_t)(slash - path) : 0;

	*ret_name = slash ? slash + 1 : path;
	memcpy(parent, path, n);
	parent[n] = '\0';
	if (j->fd >= 0 && strcmp(j->path, parent) == 0)
		return j->fd;
	lx_jail_forget(j);
	int fd = open_beneath(j->root, parent, O_PATH | O_DIRECTORY);

	if (fd == -ENOENT)
		fd = make_dirs(j->root, parent);
	if (fd < 0)
		return cannot_enter(parent, fd, err);
	memcpy(j->path, parent, n + 1);
	j->fd = fd;
	return fd;
}
