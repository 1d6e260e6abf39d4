/*
 * Going where a path leads as the caller would: a child joins its namespaces, takes its root and working
 * directory, its ids and no more than its capabilities, opens the path and hands the descriptor out.
 * So whatever links and mounts the guest has laid lead nowhere the caller could not go by itself, and a
 * file system that answers never holds up this child alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/intercept/caller.h"
#include "lib/cleanup.h"
#include "lib/fd_pass.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

struct place {
	int mnt_ns, user_ns, root, base;
};

static int become(const struct lx_caller *c, const struct place *at)
{
	int r = lx_caller_become(c);

	if (r < 0)
		return r;
	if (setns(at->mnt_ns, CLONE_NEWNS) < 0 || setns(at->user_ns, CLONE_NEWUSER) < 0 ||
	    fchdir(at->root) < 0 || chroot(".") < 0 || fchdir(at->base) < 0)
		return -errno;
	return lx_caller_take_capabilities(c);
}

static int open_path(const char *path, enum lx_walk how)
{
	int flags = O_PATH | O_CLOEXEC;

	if (how == LX_WALK_PARENT)
		flags |= O_DIRECTORY;
	if (how == LX_WALK_LINK)
		flags |= O_NOFOLLOW;
	lx_autoclose int fd = open(path, flags);

	if (fd < 0)
		return -errno;
	if (how == LX_WALK_PARENT && faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return -errno;
	return lx_move_fd(fd);
}

/* In the child. What became of it goes out as an int, the descriptor beside it. */
static void go(const struct lx_caller *c, const struct place *at, const char *path, enum lx_walk how, int out)
{
	pid_t parent = getppid();
	int r = become(c, at), fd = -1;

	/* After the change of user, which takes it back. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		return;
	if (r == 0) {
		fd = open_path(path, how);
		r = fd < 0 ? fd : 0;
	} else {
		r = -EREMOTEIO; /* ours, and nothing that the caller has done */
	}
	(void)lx_fd_send(out, &r, sizeof(r), fd);
}

static int walk(const struct lx_caller *c, const struct place *at, const char *path, enum lx_walk how)
{
	int pair[2], r = -EREMOTEIO, fd = -1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -EREMOTEIO;
	pid_t child = fork();

	if (child == 0) {
		close(pair[0]);
		go(c, at, path, how, pair[1]);
		_exit(0);
	}
	close(pair[1]);
	if (child > 0 && lx_fd_recv(pair[0], &r, sizeof(r), &fd) != sizeof(r))
		r = -EREMOTEIO;
	close(pair[0]);
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	if (r < 0 && fd >= 0)
		close(fd);
	return r < 0 ? r : fd;
}

int lx_walk(const struct lx_caller *c, int dirfd, const char *path, enum lx_walk how)
{
	char number[32];

	snprintf(number, sizeof(number), "fd/%d", dirfd);
	lx_autoclose int mnt = openat(c->proc, "ns/mnt", O_RDONLY | O_CLOEXEC);
	lx_autoclose int user = openat(c->proc, "ns/user", O_RDONLY | O_CLOEXEC);
	lx_autoclose int root = openat(c->proc, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* An absolute path needs none, whatever was given. */
	lx_autoclose int base =
		openat(c->proc, dirfd == AT_FDCWD || *path == '/' ? "cwd" : number, O_PATH | O_CLOEXEC);

	if (base < 0 && dirfd != AT_FDCWD)
		return lx_caller_waits(c) ? -EBADF : -EREMOTEIO;
	if (mnt < 0 || user < 0 || root < 0 || base < 0 || !lx_caller_waits(c))
		return -EREMOTEIO;
	return walk(c, &(struct place){ mnt, user, root, base }, path, how);
}

int lx_walk_split(char *path, char name[256])
{
	char *slash = strrchr(path, '/');
	const char *last = slash ? slash + 1 : path;

	if (!*path)
		return -ENOENT;
	if (!*last)
		return strspn(path, "/") == strlen(path) ? -EEXIST : -ENOENT;
	if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
		return -EEXIST;
	if (strlen(last) > 255)
		return -ENAMETOOLONG;
	memcpy(name, last, strlen(last) + 1);
	if (!slash)
		memcpy(path, ".", 2);
	else
		slash[slash == path ? 1 : 0] = '\0';
	return 0;
}

bool lx_walk_is_plain(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	switch (fs.f_type) {
	case OVERLAYFS_SUPER_MAGIC:
	case TMPFS_MAGIC:
		return true;
	default:
		return false;
	}
}
