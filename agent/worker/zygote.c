#include "agent/worker/zygote.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/worker/proto.h"
#include "lib/fd_pass.h"

#define ANSWER_MS 1000

/* ------------------------------------------------------------------ the zygote */

/* The socket; 0: the agent has gone. */
static int wait_for_request(void)
{
	char byte;
	int fd;
	ssize_t n = lx_fd_recv(LX_WORKER_FD, &byte, sizeof(byte), &fd);

	if (n <= 0)
		return (int)n;
	return fd >= 0 ? fd : -EBADMSG;
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

pid_t lx_zygote_fork(int sock, int worker_end, struct lx_err *err)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	pid_t pid = 0;
	int r = lx_fd_send(sock, "w", 1, worker_end);

	if (r < 0)
		return lx_err_errno(err, r, "the zygote of the workers has gone");
	if (poll(&p, 1, ANSWER_MS) <= 0 || recv(sock, &pid, sizeof(pid), MSG_DONTWAIT) != sizeof(pid))
		return lx_err_set(err, LX_UNAVAILABLE, "the zygote of the workers does not answer");
	if (pid <= 0)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "the machine is out of processes or memory");
	return pid;
}
