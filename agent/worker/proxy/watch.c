/*
 * Who the guest is: liblxc's monitor outlives reboots inside, each of which has an init, and with it
 * namespaces, of its own.
 *
 *	monitor ends		leave
 *	init ends		the half inside, and all that is open in there, goes; look for the next
 *	a child of the monitor	has executed its init: start the half inside
 *
 * Before that the child is liblxc setting up the guest, whose root directory is still the node's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/instance/proc.h"
#include "agent/worker/proxy/daemon.h"
#include "lib/cleanup.h"
#include "lib/log.h"

#define LOOK_MS 20

static void look_again(struct lx_proxyd *d);

/* Does it still run what the monitor runs? */
static bool is_guest(const struct lx_proxyd *d, pid_t init)
{
	char ours[64], its[64];
	struct stat a, b;

	snprintf(ours, sizeof(ours), "/proc/%d/exe", d->monitor);
	snprintf(its, sizeof(its), "/proc/%d/exe", (int)init);
	return stat(ours, &a) == 0 && stat(its, &b) == 0 && (a.st_dev != b.st_dev || a.st_ino != b.st_ino);
}

static void on_fd_closed(uv_handle_t *handle)
{
	int *fd = handle->data;

	close(*fd);
	*fd = -1;
}

static void on_init_ended(uv_poll_t *poll, int status, int events)
{
	struct lx_proxyd *d = poll->loop->data;

	lx_inside_stop(d->inside);
	d->inside = NULL;
	lx_devices_guest_ended(d);
	uv_close((uv_handle_t *)&d->on_init, on_fd_closed);
	look_again(d);
}

static int start_inside(struct lx_proxyd *d, struct lx_err *err)
{
	return lx_inside_start(&d->loop, d->init_fd, d->privileged, &d->inside, err);
}

static void on_look(uv_timer_t *timer)
{
	struct lx_proxyd *d = timer->loop->data;
	struct lx_err err = LX_ERR_INIT;
	pid_t init = lx_proc_child(d->monitor);
	uint64_t began;

	/* The last one's descriptor may still be on its way out. */
	if (d->init_fd >= 0 || init <= 0 || !is_guest(d, init) || lx_proc_stat(init, &began, NULL) < 0)
		return;
	d->init_fd = lx_proc_open(init, began);
	if (d->init_fd < 0)
		return;
	d->on_init.data = &d->init_fd;
	(void)uv_poll_init(&d->loop, &d->on_init, d->init_fd);
	(void)uv_poll_start(&d->on_init, UV_READABLE, on_init_ended);
	uv_timer_stop(timer);
	if (start_inside(d, &err) < 0)
		lx_warn("proxies cannot enter the guest", "instance=%s error=\"%s\"", d->instance, err.msg);
	else
		lx_devices_guest_runs(d);
}

static void look_again(struct lx_proxyd *d)
{
	(void)uv_timer_start(&d->look, on_look, LOOK_MS, LOOK_MS);
}

static void on_monitor_ended(uv_poll_t *poll, int status, int events)
{
	struct lx_proxyd *d = poll->loop->data;

	uv_stop(&d->loop);
}

int lx_watch_begin(struct lx_proxyd *d, int monitor, uint64_t start, struct lx_err *err)
{
	if (d->monitor_fd >= 0)
		return 0;
	d->monitor_fd = lx_proc_open(monitor, start);
	if (d->monitor_fd < 0)
		return lx_err_errno(err, d->monitor_fd, "cannot watch the monitor of %s", d->instance);
	d->monitor = monitor;
	d->on_monitor.data = &d->monitor_fd;
	(void)uv_poll_init(&d->loop, &d->on_monitor, d->monitor_fd);
	(void)uv_poll_start(&d->on_monitor, UV_READABLE, on_monitor_ended);
	on_look(&d->look);
	if (d->init_fd < 0)
		look_again(d);
	return 0;
}

int lx_watch_ask(struct lx_proxyd *d, bool listen, const struct lx_endpoint *e, lx_inside_cb cb, void *arg)
{
	if (!d->inside)
		return -ESRCH;
	int r = lx_inside_ask(d->inside, listen, e, cb, arg);

	if (r != -EPIPE)
		return r;
	/* It was killed by somebody; the guest is there. */
	lx_inside_stop(d->inside);
	d->inside = NULL;
	r = start_inside(d, NULL);
	return r < 0 ? r : lx_inside_ask(d->inside, listen, e, cb, arg);
}
