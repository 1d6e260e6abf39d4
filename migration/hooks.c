/*
 * Each hook is a connection of its own with one message and one answer. Only root gets at the
 * socket: it lies in a directory of the agent's that nobody else may enter, and who connects
 * is checked all the same.
 */
#include "migration/hooks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"

/* A guest is dumped once at a time; CRIU runs one step after the other. */
#define BACKLOG 4

int lx_hooks_open(const char *path, int *ret_fd, struct lx_err *err)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	lx_autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (strlen(path) >= sizeof(at.sun_path)) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT, "the path %s is too long for a socket", path);

		lx_err_hint(err, "Start lxagentd with a shorter --run-dir.");
		return r;
	}
	memcpy(at.sun_path, path, strlen(path) + 1);
	(void)unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || chmod(path, 0600) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return lx_err_errno(err, errno, "cannot listen on %s", path);
	*ret_fd = lx_move_fd(fd);
	return 0;
}

static int read_message(int fd, struct lx_hook *ret)
{
	char message[LX_HOOK_ACTION_MAX + 16] = "";
	ssize_t n = recv(fd, message, sizeof(message) - 1, 0);
	size_t action = n > 0 ? strnlen(message, (size_t)n) : 0;

	if (action == 0 || action >= sizeof(ret->action) || action == (size_t)n)
		return -EBADMSG;
	memcpy(ret->action, message, action + 1);
	ret->init = (pid_t)strtol(message + action + 1, NULL, 10);
	return 0;
}

int lx_hooks_take(int fd, struct lx_hook *ret, struct lx_err *err)
{
	struct ucred who = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(who);

	*ret = (struct lx_hook){ .fd = -1 };
	lx_autoclose int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	if (conn < 0)
		return errno == EAGAIN || errno == ECONNABORTED
			       ? 0
			       : lx_err_errno(err, errno, "cannot take a step of CRIU's");
	if (getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || who.uid != 0)
		return 0;
	if (read_message(conn, ret) < 0)
		return 0;
	ret->fd = lx_move_fd(conn);
	return 1;
}

void lx_hook_answer(struct lx_hook *hook, unsigned char code)
{
	if (hook->fd < 0)
		return;
	(void)send(hook->fd, &code, 1, MSG_NOSIGNAL);
	close(hook->fd);
	hook->fd = -1;
}
