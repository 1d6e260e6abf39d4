/*
 * A socket's path has room for 107 bytes, a run directory may be longer: it is opened, and named by its
 * descriptor.
 */
#include "agent/worker/proxy_control.h"

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

#define SUFFIX  ".proxy"
#define BACKLOG 8

static void leaf(const char *instance, char out[LX_NAME_MAX + sizeof(SUFFIX)])
{
	snprintf(out, LX_NAME_MAX + sizeof(SUFFIX), "%.*s" SUFFIX, LX_NAME_MAX, instance);
}

static void address(int dir, const char *instance, struct sockaddr_un *ret)
{
	char name[LX_NAME_MAX + sizeof(SUFFIX)];

	leaf(instance, name);
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

int lx_proxy_control_listen(const char *run_dir, const char *instance, struct lx_err *err)
{
	lx_autoclose int dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	lx_autoclose int fd = dir < 0 ? -errno : open_socket(SOCK_NONBLOCK);
	struct sockaddr_un a;

	if (fd < 0)
		return lx_err_errno(err, fd, "cannot make a socket in %s", run_dir);
	lx_proxy_control_forget(run_dir, instance);
	address(dir, instance, &a);
	mode_t before = umask(0177);
	int r = bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0 ? -errno : 0;

	umask(before);
	return r < 0 ? lx_err_errno(err, r, "cannot listen at %s/%s" SUFFIX, run_dir, instance)
		     : lx_move_fd(fd);
}

int lx_proxy_control_connect(const char *run_dir, const char *instance, struct lx_err *err)
{
	lx_autoclose int dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	lx_autoclose int fd = dir < 0 ? -errno : open_socket(0);
	struct sockaddr_un a;

	if (fd < 0)
		return lx_err_errno(err, fd, "cannot reach the proxies of %s", instance);
	address(dir, instance, &a);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return lx_move_fd(fd);
	if (errno == ENOENT || errno == ECONNREFUSED)
		return -ENOENT;
	return lx_err_errno(err, errno, "cannot reach the proxies of %s", instance);
}

void lx_proxy_control_forget(const char *run_dir, const char *instance)
{
	lx_autoclose int dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char name[LX_NAME_MAX + sizeof(SUFFIX)];

	leaf(instance, name);
	if (dir >= 0)
		(void)unlinkat(dir, name, 0);
}
