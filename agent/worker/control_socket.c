/*
 * A socket's path has room for 107 bytes, a run directory may be longer: it is opened, and named by its
 * descriptor.
 */
#include "agent/worker/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/worker/proto.h"
#include "lib/cleanup.h"
#include "lib/str.h"

#define SUFFIX_MAX 16
#define BACKLOG    8

static void leaf(const char *instance, const char *suffix, char out[LX_NAME_MAX + SUFFIX_MAX + 1])
{
	snprintf(out, LX_NAME_MAX + SUFFIX_MAX + 1, "%.*s%.*s", LX_NAME_MAX, instance, SUFFIX_MAX, suffix);
}

static void address(int dir, const char *instance, const char *suffix, struct sockaddr_un *ret)
{
	char name[LX_NAME_MAX + SUFFIX_MAX + 1];

	leaf(instance, suffix, name);
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dir, name);
}

static int open_socket(int flags)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0), size = LX_WORKER_DATAGRAM_MAX;

	if (fd < 0)
		return -errno;
	/* A specification is one datagram. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	return fd;
}

int lx_control_listen(const char *run_dir, const char *instance, const char *suffix, struct lx_err *err)
{
	lx_autoclose int dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	lx_autoclose int fd = dir < 0 ? -errno : open_socket(SOCK_NONBLOCK);
	struct sockaddr_un a;

	if (fd < 0)
		return lx_err_errno(err, fd, "cannot make a socket in %s", run_dir);
	lx_control_forget(run_dir, instance, suffix);
	address(dir, instance, suffix, &a);
	mode_t before = umask(0177);
	int r = bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0 ? -errno : 0;

	umask(before);
	return r < 0 ? lx_err_errno(err, r, "cannot listen at %s/%s%s", run_dir, instance, suffix)
		     : lx_move_fd(fd);
}

int lx_control_connect(const char *run_dir, const char *instance, const char *suffix, int flags,
		       struct lx_err *err)
{
	lx_autoclose int dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	lx_autoclose int fd = dir < 0 ? -errno : open_socket(flags);
	struct sockaddr_un a;

	if (fd < 0)
		return lx_err_errno(err, fd, "cannot make a socket for %s/%s%s", run_dir, instance, suffix);
	address(dir, instance, suffix, &a);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return lx_move_fd(fd);
	if (errno == ENOENT || errno == ECONNREFUSED)
		return -ENOENT;
	return lx_err_errno(err, errno, "cannot reach %s/%s%s", run_dir, instance, suffix);
}

void lx_control_forget(const char *run_dir, const char *instance, const char *suffix)
{
	lx_autoclose int dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char name[LX_NAME_MAX + SUFFIX_MAX + 1];

	leaf(instance, suffix, name);
	if (dir >= 0)
		(void)unlinkat(dir, name, 0);
}
