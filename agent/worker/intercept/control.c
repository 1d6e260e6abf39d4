/*
 * Who talks to us: workers, which tell of the monitor and bring listeners, and the agent, which wants to
 * hear of refusals and notices our end by that of its connection.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/worker/control_socket.h"
#include "agent/worker/instance/proc.h"
#include "agent/worker/intercept/daemon.h"
#include "lib/cleanup.h"
#include "lib/fd_pass.h"

static int client_add(struct lx_interceptd *d, int fd)
{
	for (unsigned i = 0; i < LX_CLIENTS_MAX; i++)
		if (d->clients[i] < 0) {
			d->clients[i] = fd;
			d->watches[i] = false;
			return 0;
		}
	close(fd);
	return -ENOSPC;
}

int lx_intercept_listen(struct lx_interceptd *d, struct lx_err *err)
{
	d->control_fd = lx_control_listen(d->job.run_dir, d->job.name, LX_CONTROL_INTERCEPT, err);
	if (d->control_fd < 0)
		return d->control_fd;
	return client_add(d, LX_WORKER_FD);
}

void lx_intercept_accept(struct lx_interceptd *d)
{
	int fd = accept4(d->control_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct ucred who;
	socklen_t len = sizeof(who);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || who.uid != 0)
		close(fd);
	else
		(void)client_add(d, fd);
}

static void client_drop(struct lx_interceptd *d, unsigned i)
{
	close(d->clients[i]);
	d->clients[i] = -1;
}

static int32_t watch_monitor(struct lx_interceptd *d, const struct lx_intercept_request *q)
{
	if (d->monitor_fd >= 0)
		return 0;
	d->monitor_fd = lx_proc_open(q->monitor, q->monitor_start);
	d->monitor = q->monitor;
	return d->monitor_fd < 0 ? d->monitor_fd : 0;
}

/* 0, an errno for the one who asked, or 1: nothing to say. */
static int32_t obey(struct lx_interceptd *d, unsigned i, const struct lx_intercept_request *q, int *fd)
{
	switch (q->kind) {
	case LX_INTERCEPT_MONITOR:
		return watch_monitor(d, q);
	case LX_INTERCEPT_LISTENER:
		return *fd < 0 ? -EBADF : lx_listener_add(d, lx_move_fd(*fd), false);
	case LX_INTERCEPT_WATCH:
		d->watches[i] = true;
		return 1;
	default:
		return -EOPNOTSUPP;
	}
}

bool lx_intercept_read(struct lx_interceptd *d, unsigned i)
{
	struct lx_intercept_request q = { 0 };
	lx_autoclose int fd = -1;
	ssize_t n = lx_fd_recv(d->clients[i], &q, sizeof(q), &fd);

	if (n == -EAGAIN)
		return true;
	if (n < (ssize_t)sizeof(q.kind)) {
		client_drop(d, i);
		/* Who was to say when the guest runs has died. */
		return d->monitor_fd >= 0;
	}
	int32_t r = obey(d, i, &q, &fd);

	if (r <= 0)
		(void)send(d->clients[i], &r, sizeof(r), MSG_NOSIGNAL | MSG_DONTWAIT);
	return true;
}

/* What does not fit into the socket is left out: refusals are told of, not kept. */
void lx_intercept_tell(struct lx_interceptd *d, const struct lx_intercept_refusal *r)
{
	for (unsigned i = 0; i < LX_CLIENTS_MAX; i++)
		if (d->clients[i] >= 0 && d->watches[i])
			(void)send(d->clients[i], r, sizeof(*r), MSG_NOSIGNAL | MSG_DONTWAIT);
}
