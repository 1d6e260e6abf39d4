#include "migration/remote_uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fd_pass.h"
#include "migration/remote_call.h"

/* linux/userfaultfd.h of 6.7. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* Only this of ours stays open in the child: others wait for the ends of the rest. */
#define CHILD_FD 3

struct answer {
	int result; /* 0: the descriptor comes along */
	struct lx_err err;
};

/* ------------------------------------------------------------------ the child */

/* The process opens it, we take it over, the process closes it. */
static int take_over(struct lx_remote *remote, struct lx_err *err)
{
	const unsigned long open_args[6] = { O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY };
	long fd = lx_remote_call(remote, SYS_userfaultfd, open_args, err);

	if (fd < 0)
		return fd == -EIO ? (int)fd
				  : lx_err_errno(err, (int)fd, "process %d gets no userfaultfd",
						 (int)remote->pid);
	lx_autoclose int pidfd = (int)syscall(SYS_pidfd_open, remote->pid, 0);
	int ours = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, (int)fd, 0);
	int r = ours < 0 ? lx_err_errno(err, errno, "cannot take over the userfaultfd of process %d",
					(int)remote->pid)
			 : ours;
	const unsigned long close_args[6] = { (unsigned long)fd };

	(void)lx_remote_call(remote, SYS_close, close_args, NULL);
	return r;
}

static void make_the_call(pid_t pid, int sock)
{
	struct answer answer = { .err = LX_ERR_INIT };
	struct lx_remote remote;
	int fd = -1;

	(void)setpgid(0, 0);
	/* dup2() to itself would leave it as it is. */
	if (sock != CHILD_FD && dup2(sock, CHILD_FD) < 0)
		_exit(1);
	syscall(SYS_close_range, CHILD_FD + 1, ~0u, 0);
	answer.result = lx_remote_begin(pid, &remote, &answer.err);
	if (answer.result == 0) {
		fd = take_over(&remote, &answer.err);
		answer.result = fd < 0 ? fd : 0;
		lx_remote_end(&remote);
	}
	_exit(lx_fd_send(CHILD_FD, &answer, sizeof(answer), fd) < 0);
}

/* ------------------------------------------------------------------ for the caller */

static int hear(int sock, pid_t pid, struct lx_err *err)
{
	struct answer answer;
	int fd;
	ssize_t n = lx_fd_recv(sock, &answer, sizeof(answer), &fd);

	if (n != (ssize_t)sizeof(answer))
		return lx_err_set(err, LX_UNAVAILABLE, "who had process %d make a userfaultfd was killed",
				  (int)pid);
	if (answer.result == 0)
		return fd;
	if (err)
		*err = answer.err;
	return answer.result;
}

int lx_remote_uffd(pid_t pid, struct lx_err *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return lx_err_errno(err, errno, "cannot watch the memory of process %d", (int)pid);
	pid_t child = fork();

	if (child == 0)
		make_the_call(pid, pair[1]);
	close(pair[1]);
	int r = child < 0 ? lx_err_errno(err, errno, "cannot watch the memory of process %d", (int)pid)
			  : hear(pair[0], pid, err);

	close(pair[0]);
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return r;
}
