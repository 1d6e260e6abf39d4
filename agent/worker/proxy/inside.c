#include "agent/worker/proxy/inside.h"

#include <errno.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/instance/guest_join.h"
#include "lib/cleanup.h"
#include "lib/fd_pass.h"
#include "lib/list.h"

/* Its end of the socket; what is above it is closed. */
#define CHANNEL 3

struct request {
	bool listen;
	struct lx_endpoint endpoint;
};

struct asked {
	TAILQ_ENTRY(asked) next;
	struct request q;
	lx_inside_cb cb;
	void *arg;
};

struct lx_inside {
	uv_poll_t poll;
	int sock;
	pid_t pid;
	TAILQ_HEAD(, asked) waiting; /* for an answer */
	struct asked *unsent;        /* the first of them that could not be sent yet, or NULL */
};

/* ------------------------------------------------------------------ in there */

static int serve(void)
{
	for (;;) {
		struct request q;
		int none = -1;
		ssize_t n = lx_fd_recv(CHANNEL, &q, sizeof(q), &none);

		if (n != sizeof(q))
			return 0;
		int fd = q.listen ? lx_endpoint_listen(&q.endpoint) : lx_endpoint_connect(&q.endpoint);
		int r = fd < 0 ? fd : 0;

		r = lx_fd_send(CHANNEL, &r, sizeof(r), fd);
		if (fd >= 0)
			close(fd);
		if (r < 0)
			return 0;
	}
}

static void run(int sock, int init_pidfd, bool privileged)
{
	/* The init's descriptor is used up before others are closed. */
	int r = lx_guest_join(init_pidfd, CLONE_NEWNS | CLONE_NEWNET, privileged,
			      LX_GUEST_FILES | 1U << CAP_NET_BIND_SERVICE, NULL);

	/* After the change of user, which takes it back. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (r < 0 || dup2(sock, CHANNEL) < 0)
		return;
	(void)syscall(SYS_close_range, CHANNEL + 1, ~0U, 0);
	(void)serve();
}

/* ------------------------------------------------------------------ out here */

static void answer(struct lx_inside *in, int fd)
{
	struct asked *a = TAILQ_FIRST(&in->waiting);

	if (!a) {
		if (fd >= 0)
			close(fd);
		return;
	}
	TAILQ_REMOVE(&in->waiting, a, next);
	a->cb(fd, a->arg);
	free(a);
}

static void on_event(uv_poll_t *poll, int status, int events);

/* As many as there is room for: on a busy machine its turn may not come for a while. */
static int send_on(struct lx_inside *in)
{
	int r = 0;

	while (in->unsent) {
		r = lx_fd_send(in->sock, &in->unsent->q, sizeof(in->unsent->q), -1);
		if (r < 0)
			break;
		in->unsent = TAILQ_NEXT(in->unsent, next);
	}
	int more = in->unsent ? UV_WRITABLE : 0;

	(void)uv_poll_start(&in->poll, UV_READABLE | UV_DISCONNECT | more, on_event);
	return r == -EAGAIN ? 0 : r;
}

/* It has died: nothing more comes. Who watches the guest starts another. */
static void give_up(struct lx_inside *in)
{
	uv_poll_stop(&in->poll);
	in->unsent = NULL;
	while (!TAILQ_EMPTY(&in->waiting))
		answer(in, -ESRCH);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct lx_inside *in = poll->data;

	for (;;) {
		int r, fd = -1;
		ssize_t n = lx_fd_recv(in->sock, &r, sizeof(r), &fd);

		if (n == -EAGAIN)
			break;
		if (n != sizeof(r)) {
			give_up(in);
			return;
		}
		answer(in, r < 0 ? r : fd);
	}
	if ((events & UV_WRITABLE) && send_on(in) < 0)
		give_up(in);
}

int lx_inside_start(uv_loop_t *loop, int init_pidfd, bool privileged, struct lx_inside **ret,
		    struct lx_err *err)
{
	int pair[2];
	struct lx_inside *in = calloc(1, sizeof(*in));

	if (!in)
		return lx_err_oom(err);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		free(in);
		return lx_err_errno(err, errno, "cannot make a socket pair");
	}
	in->pid = fork();
	if (in->pid == 0) {
		close(pair[0]);
		run(pair[1], init_pidfd, privileged);
		_exit(EXIT_SUCCESS);
	}
	close(pair[1]);
	if (in->pid < 0) {
		int r = lx_err_errno(err, errno, "cannot start a process");

		close(pair[0]);
		free(in);
		return r;
	}
	TAILQ_INIT(&in->waiting);
	in->sock = pair[0];
	in->poll.data = in;
	/* Makes it non-blocking as well. */
	(void)uv_poll_init(loop, &in->poll, in->sock);
	(void)uv_poll_start(&in->poll, UV_READABLE | UV_DISCONNECT, on_event);
	*ret = in;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct lx_inside *in = handle->data;

	close(in->sock);
	free(in);
}

void lx_inside_stop(struct lx_inside *in)
{
	if (!in)
		return;
	kill(in->pid, SIGKILL);
	while (waitpid(in->pid, NULL, 0) < 0 && errno == EINTR)
		;
	while (!TAILQ_EMPTY(&in->waiting))
		answer(in, -ESRCH);
	uv_close((uv_handle_t *)&in->poll, on_closed);
}

int lx_inside_ask(struct lx_inside *in, bool listen, const struct lx_endpoint *e, lx_inside_cb cb, void *arg)
{
	struct asked *a = malloc(sizeof(*a));
	int r = 0;

	if (!a)
		return -ENOMEM;
	*a = (struct asked){ .q = { .listen = listen, .endpoint = *e }, .cb = cb, .arg = arg };
	TAILQ_INSERT_TAIL(&in->waiting, a, next);
	if (!in->unsent) {
		in->unsent = a;
		r = send_on(in);
	}
	if (r < 0) {
		in->unsent = NULL;
		TAILQ_REMOVE(&in->waiting, a, next);
		free(a);
	}
	return r;
}
