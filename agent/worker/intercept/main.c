/*
 * lx-intercept RUN_DIR LXC_PATH CGROUP_ROOT INSTANCE: see daemon.h. Descriptor 3 is the socket of the worker
 * that has started it. One thread, one loop: whatever might wait for a guest is in a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <lxc/lxccontainer.h>

#include "agent/worker/control_socket.h"
#include "agent/worker/intercept/daemon.h"
#include "lib/clock.h"
#include "lib/log.h"

#define FDS_MAX (3 + LX_CLIENTS_MAX + LX_LISTENERS_MAX + LX_CALLS_MAX)
/* Others come first when the machine is busy. */
#define NICENESS 5
/* While something is due: a listener is missing, a child may be late. */
#define TICK_MS 20

enum source { SOURCE_MONITOR, SOURCE_CONTROL, SOURCE_CLIENT, SOURCE_LISTENER, SOURCE_CALL, SOURCE_LOOK };

struct watched {
	struct pollfd fds[FDS_MAX];
	struct {
		enum source what;
		unsigned index;
	} of[FDS_MAX];
	nfds_t n;
};

static void watch(struct watched *w, int fd, short events, enum source what, size_t index)
{
	if (fd < 0)
		return;
	w->fds[w->n] = (struct pollfd){ .fd = fd, .events = events };
	w->of[w->n].what = what;
	w->of[w->n++].index = (unsigned)index;
}

/* What to wait for, and at most how long. */
static int gather(struct lx_interceptd *d, struct watched *w)
{
	int ms;
	bool ready = lx_serve_ready(d, &ms), busy = false;

	w->n = 0;
	watch(w, d->monitor_fd, POLLIN, SOURCE_MONITOR, 0);
	watch(w, d->control_fd, POLLIN, SOURCE_CONTROL, 0);
	watch(w, d->look_sock, POLLIN, SOURCE_LOOK, 0);
	for (unsigned i = 0; i < LX_CLIENTS_MAX; i++)
		watch(w, d->clients[i], POLLIN, SOURCE_CLIENT, i);
	for (unsigned i = 0; i < LX_CALLS_MAX; i++) {
		if (!d->running[i].pid)
			continue;
		watch(w, d->running[i].pidfd, POLLIN, SOURCE_CALL, i);
		busy = busy || !d->running[i].answered;
	}
	for (size_t i = 0; i < d->n_listeners; i++)
		if (!d->listeners[i]->ended)
			watch(w, d->listeners[i]->fd, ready ? POLLIN : 0, SOURCE_LISTENER, i);
	if (busy || (!d->has_init && d->monitor_fd >= 0))
		return ms >= 0 && ms < TICK_MS ? ms : TICK_MS;
	return ms;
}

static bool act(struct lx_interceptd *d, enum source what, unsigned i, short events)
{
	switch (what) {
	case SOURCE_MONITOR:
		return false;
	case SOURCE_CONTROL:
		lx_intercept_accept(d);
		return true;
	case SOURCE_CLIENT:
		return lx_intercept_read(d, i);
	case SOURCE_LOOK:
		lx_listener_found(d);
		return true;
	case SOURCE_CALL:
		lx_serve_ended(d, i);
		return true;
	case SOURCE_LISTENER:
		if (events & POLLIN)
			lx_serve_take(d, d->listeners[i]);
		else
			lx_listener_ended(d, d->listeners[i]);
		return true;
	}
	return true;
}

static void serve(struct lx_interceptd *d)
{
	static struct watched w;

	for (bool going = true; going;) {
		int ms = gather(d, &w), n = poll(w.fds, w.n, ms);

		/* Listeners keep their places until all have been looked at. */
		for (nfds_t i = 0; n > 0 && going && i < w.n; i++)
			if (w.fds[i].revents)
				going = act(d, w.of[i].what, w.of[i].index, w.fds[i].revents);
		lx_serve_late(d);
		lx_listener_look(d);
		lx_listeners_sweep(d);
	}
}

static int set_up(struct lx_interceptd *d, struct lx_err *err)
{
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setpriority(PRIO_PROCESS, 0, NICENESS);
	(void)fcntl(LX_WORKER_FD, F_SETFD, FD_CLOEXEC);
	(void)fcntl(LX_WORKER_FD, F_SETFL, fcntl(LX_WORKER_FD, F_GETFL) | O_NONBLOCK);
	for (unsigned i = 0; i < LX_CLIENTS_MAX; i++)
		d->clients[i] = -1;
	for (unsigned i = 0; i < LX_CALLS_MAX; i++)
		d->running[i].pidfd = -1;
	d->budget_ns = lx_now_monotonic_ns();
	int r = lx_cgroups_find(&d->cgroups, err);

	if (r == 0)
		r = lx_slots_open(d, err);
	if (r == 0)
		r = lx_intercept_confine(err);
	if (r < 0)
		return r;
	d->container = lxc_container_new(d->job.name, d->job.lxc_path);
	if (!d->container)
		return lx_err_oom(err);
	return lx_intercept_listen(d, err);
}

static int fit(char *out, size_t size, const char *arg)
{
	return snprintf(out, size, "%s", arg) < (int)size ? 0 : -ENAMETOOLONG;
}

int main(int argc, char **argv)
{
	static struct lx_interceptd d = { .monitor_fd = -1, .control_fd = -1, .look_sock = -1 };
	struct lx_err err = LX_ERR_INIT;

	lx_log_init("lx-intercept", LX_LOG_WARN);
	if (argc != 5 || fcntl(LX_WORKER_FD, F_GETFD) < 0 ||
	    fit(d.job.run_dir, sizeof(d.job.run_dir), argv[1]) < 0 ||
	    fit(d.job.lxc_path, sizeof(d.job.lxc_path), argv[2]) < 0 ||
	    fit(d.job.cgroup_root, sizeof(d.job.cgroup_root), argv[3]) < 0 ||
	    fit(d.job.name, sizeof(d.job.name), argv[4]) < 0) {
		fputs("lx-intercept is started by lxagentd's workers.\n", stderr);
		return EXIT_FAILURE;
	}
	if (set_up(&d, &err) < 0) {
		(void)lx_worker_send_error(LX_WORKER_FD, &err, NULL);
		return EXIT_FAILURE;
	}
	/* That it is there. */
	(void)lx_worker_send_result(LX_WORKER_FD, NULL, NULL);
	serve(&d);
	lx_control_forget(d.job.run_dir, d.job.name, LX_CONTROL_INTERCEPT);
	return EXIT_SUCCESS;
}
