/*
 * Workers tell what is wanted, one job at a time: a WorkerJob with a specification, a monitor, or both.
 * The answer is a report: a result when all that can be open is, else the first thing that was wrong. Who
 * asked puts it back then, by the specification of before.
 *
 * The first worker's socket is inherited. Later ones come over <run directory>/<instance>.proxy, which
 * only the node's root reaches.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/worker/control_socket.h"
#include "agent/worker/proxy/daemon.h"
#include "lib/cleanup.h"
#include "profiles/privileged.h"
#include "proto/pb.h"

struct lx_apply {
	struct client *client;
	unsigned pending;
	struct lx_err err; /* the first */
};

struct client {
	struct lx_proxyd *d;
	int fd;
	uv_poll_t poll;
};

/* ------------------------------------------------------------------ answers */

static void leave_if_idle(struct lx_proxyd *d)
{
	/* Nothing to do any more; or who was to say when the guest runs has died. */
	if (lx_devices_any(d) && d->monitor_fd >= 0)
		return;
	uv_stop(&d->loop);
}

static void on_client_closed(uv_handle_t *handle)
{
	struct client *c = handle->data;

	free(c);
}

static void client_close(struct client *c)
{
	struct lx_proxyd *d = c->d;

	if (d->apply && d->apply->client == c)
		d->apply->client = NULL;
	uv_close((uv_handle_t *)&c->poll, on_client_closed);
	close(c->fd);
	leave_if_idle(d);
}

static void send_answer(struct client *c, const struct lx_err *what)
{
	if (!c)
		return;
	if (what->code == LX_OK)
		(void)lx_worker_send_result(c->fd, NULL, NULL);
	else
		(void)lx_worker_send_error(c->fd, what, NULL);
}

static void finish(struct lx_proxyd *d)
{
	struct lx_apply *a = d->apply;

	d->apply = NULL;
	lx_devices_settled(d);
	send_answer(a->client, &a->err);
	free(a);
}

void lx_apply_opened(struct lx_proxyd *d, const struct lx_err *err)
{
	struct lx_apply *a = d->apply;

	if (!a || a->pending == 0)
		return;
	if (err->code != LX_OK && a->err.code == LX_OK)
		a->err = *err;
	if (--a->pending == 0 || a->err.code != LX_OK)
		finish(d);
}

/* ------------------------------------------------------------------ jobs */

static int apply(struct lx_proxyd *d, const Lxmgr__V1__WorkerJob *job, struct lx_err *err)
{
	const Lxmgr__V1__InstanceSpec *spec = job->spec;
	int r = 0;

	if (job->job_case != LXMGR__V1__WORKER_JOB__JOB_PROXY)
		return lx_err_set(err, LX_UNIMPLEMENTED, "the proxy does not know job %d",
				  (int)job->job_case);
	if (spec) {
		d->privileged =
			lx_privileged_is_on(lx_pb_map_get(spec->n_config, spec->config, LX_KEY_PRIVILEGED));
		r = lx_devices_apply(d, spec, err);
	}
	if (r == 0 && job->proxy->monitor_pid > 0)
		r = lx_watch_begin(d, job->proxy->monitor_pid, job->proxy->monitor_start, err);
	return r;
}

static void take_job(struct client *c, const Lxmgr__V1__WorkerJob *job)
{
	struct lx_proxyd *d = c->d;
	struct lx_apply *a = calloc(1, sizeof(*a));
	struct lx_err err = LX_ERR_INIT;

	if (d->apply || !a) {
		lx_err_set(&err, LX_ABORTED, "the proxies of %s are being changed by another", d->instance);
		send_answer(c, &err);
		free(a);
		return;
	}
	a->client = c;
	if (apply(d, job, &a->err) == 0 && d->monitor_fd >= 0)
		a->pending = lx_devices_waiting(d);
	d->apply = a;
	if (a->pending == 0)
		finish(d);
}

static void on_job(uv_poll_t *poll, int status, int events)
{
	struct client *c = poll->data;
	struct lx_worker_fds fds = { .n = 0 };
	Lxmgr__V1__WorkerJob *job = NULL;
	int r = lx_worker_recv_job(c->fd, &job, &fds, NULL);

	lx_worker_fds_close(&fds);
	if (r == -EAGAIN)
		return;
	if (r != 1) {
		client_close(c);
		return;
	}
	take_job(c, job);
	lxmgr__v1__worker_job__free_unpacked(job, NULL);
}

static int client_new(struct lx_proxyd *d, int fd)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	*c = (struct client){ .d = d, .fd = fd };
	c->poll.data = c;
	(void)uv_poll_init(&d->loop, &c->poll, fd);
	(void)uv_poll_start(&c->poll, UV_READABLE | UV_DISCONNECT, on_job);
	return 0;
}

/* ------------------------------------------------------------------ the socket */

static void on_client(uv_poll_t *poll, int status, int events)
{
	struct lx_proxyd *d = poll->loop->data;
	int fd = accept4(d->control_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct ucred who;
	socklen_t len = sizeof(who);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || who.uid != 0 || client_new(d, fd) < 0)
		close(fd);
}

int lx_control_open(struct lx_proxyd *d, int job_fd, struct lx_err *err)
{
	d->control_fd = lx_control_listen(d->run_dir, d->instance, LX_CONTROL_PROXY, err);
	if (d->control_fd < 0)
		return d->control_fd;
	(void)uv_poll_init(&d->loop, &d->on_client, d->control_fd);
	(void)uv_poll_start(&d->on_client, UV_READABLE, on_client);
	return client_new(d, job_fd) < 0 ? lx_err_oom(err) : 0;
}

void lx_control_close(struct lx_proxyd *d)
{
	lx_control_forget(d->run_dir, d->instance, LX_CONTROL_PROXY);
}
