#include "agent/worker/zygote.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/worker/proto.h"

#define ANSWER_MS 1000

union control {
	char space[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* ------------------------------------------------------------------ the zygote */

/* The socket; 0: the agent has gone. */
static int wait_for_request(void)
{
	union control control;
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t n;
	int fd = -EBADMSG;

	do
		n = recvmsg(LX_WORKER_FD, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

int lx_zygote_serve(void)
{
	for (;;) {
		int sock = wait_for_request();

		if (sock <= 0)
			return sock;
		/* No fork(2): there CLONE_PARENT is not to be had. One thread, nothing to prepare. */
		pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);

		if (pid == 0) {
			(void)setsid();
			if (dup2(sock, LX_WORKER_FD) < 0)
				_exit(1);
			close(sock);
			return 1;
		}
		close(sock);
		if (pid < 0)
			pid = 0;
		if (send(LX_WORKER_FD, &pid, sizeof(pid), MSG_NOSIGNAL) < 0)
			return 0;
	}
}

/* ------------------------------------------------------------------ the agent */

static int ask(int sock, int worker_end)
{
	union control control = { { 0 } };
	struct iovec iov = { .iov_base = &(char){ 'w' }, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &worker_end, sizeof(worker_end));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

pid_t lx_zygote_fork(int sock, int worker_end, struct lx_err *err)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	pid_t pid = 0;
	int r = ask(sock, worker_end);

	if (r < 0)
		return lx_err_errno(err, r, "the zygote of the workers has gone");
	if (poll(&p, 1, ANSWER_MS) <= 0 || recv(sock, &pid, sizeof(pid), MSG_DONTWAIT) != sizeof(pid))
		return lx_err_set(err, LX_UNAVAILABLE, "the zygote of the workers does not answer");
	if (pid <= 0)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "the machine is out of processes or memory");
	return pid;
}
