/*
 * Listeners: the one of the guest's init, which liblxc's monitor keeps and gives to whoever asks, and
 * those of programs that were started in the guest later, which come from their workers.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lxc/lxccontainer.h>

#include "agent/worker/intercept/daemon.h"
#include "lib/clock.h"

/* A reboot inside takes a moment; then there is something wrong, or nobody in a hurry. */
#define LOOK_NS       (UINT64_C(20) * 1000000)
#define LOOK_LATER_NS (UINT64_C(500) * 1000000)
#define LOOKS         250

int lx_listener_add(struct lx_interceptd *d, int fd, bool init)
{
	struct lx_listener *l = d->n_listeners < LX_LISTENERS_MAX ? calloc(1, sizeof(*l)) : NULL;

	if (!l) {
		close(fd);
		return -ENOSPC;
	}
	*l = (struct lx_listener){ .fd = fd, .init = init };
	d->listeners[d->n_listeners++] = l;
	return 0;
}

/* Begun by a predecessor: the kernel says whether its caller still waits. */
static void resume(struct lx_interceptd *d, struct lx_listener *l)
{
	for (unsigned i = 0; i < LX_CALLS_MAX; i++) {
		struct lx_slot *s = &d->slots->at[i];

		if (s->state == LX_SLOT_FREE || d->running[i].pid)
			continue;
		if (s->state == LX_SLOT_OF_INIT && s->call.id &&
		    ioctl(l->fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &s->call.id) == 0)
			lx_serve_begin(d, i, l);
		else
			s->state = LX_SLOT_FREE;
	}
}

void lx_listener_look(struct lx_interceptd *d)
{
	uint64_t now = lx_now_monotonic_ns();

	if (d->has_init || d->monitor_fd < 0 || now < d->look_ns)
		return;
	d->look_ns = now + (d->looked++ < LOOKS ? LOOK_NS : LOOK_LATER_NS);
	int fd = d->container->seccomp_notify_fd_active(d->container);
	struct pollfd p = { .fd = fd };

	if (fd < 0)
		return;
	/* That of the init of before, for a moment. */
	if (poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR | POLLNVAL)) {
		close(fd);
		return;
	}
	if (lx_listener_add(d, fd, true) < 0)
		return;
	d->has_init = true;
	d->looked = 0;
	resume(d, d->listeners[d->n_listeners - 1]);
}

void lx_listener_ended(struct lx_interceptd *d, struct lx_listener *l)
{
	l->ended = true;
	if (l->init)
		d->has_init = false;
	d->look_ns = 0;
}

void lx_listeners_sweep(struct lx_interceptd *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_listeners; i++) {
		struct lx_listener *l = d->listeners[i];

		if (!l->ended || l->calls) {
			d->listeners[n++] = l;
			continue;
		}
		close(l->fd);
		free(l);
	}
	d->n_listeners = n;
}
