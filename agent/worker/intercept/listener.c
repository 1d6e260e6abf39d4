/*
 * Listeners: the one of the guest's init, which liblxc's monitor keeps and gives to whoever asks, and
 * those of programs that were started in the guest later, which come from their workers.
 *
 * A monitor that is just about to start its guest again may take a question and never answer it. So a
 * child asks, and is killed when it takes long.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lxc/lxccontainer.h>

#include "agent/worker/intercept/daemon.h"
#include "lib/clock.h"
#include "lib/fd_pass.h"

/* A reboot inside takes a moment; then there is something wrong, or nobody in a hurry. */
#define LOOK_NS       (UINT64_C(20) * 1000000)
#define LOOK_LATER_NS (UINT64_C(500) * 1000000)
#define LOOKS         250
#define ANSWER_NS     (UINT64_C(1000) * 1000000)

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

/* In the child. Nothing is sent when there is none. */
static void ask(const struct lx_interceptd *d, int sock, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(d->slots_fd);
	if (getppid() != parent)
		return;
	int fd = d->container->seccomp_notify_fd_active(d->container);

	if (fd >= 0)
		(void)lx_fd_send(sock, "l", 1, fd);
}

static void stop_asking(struct lx_interceptd *d)
{
	kill(d->look_pid, SIGKILL);
	while (waitpid(d->look_pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(d->look_sock);
	d->look_pid = 0;
	d->look_sock = -1;
	d->look_ns = lx_now_monotonic_ns() + (d->looked++ < LOOKS ? LOOK_NS : LOOK_LATER_NS);
}

static void start_asking(struct lx_interceptd *d)
{
	int pair[2];
	pid_t self = getpid();

	d->look_ns = lx_now_monotonic_ns() + ANSWER_NS;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return;
	pid_t pid = fork();

	if (pid == 0) {
		close(pair[0]);
		ask(d, pair[1], self);
		_exit(0);
	}
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return;
	}
	d->look_pid = pid;
	d->look_sock = pair[0];
}

void lx_listener_look(struct lx_interceptd *d)
{
	if (d->has_init || d->monitor_fd < 0 || lx_now_monotonic_ns() < d->look_ns)
		return;
	if (d->look_pid)
		stop_asking(d);
	else
		start_asking(d);
}

/* Not another descriptor of the monitor's under a number that was a listener's; nor that of the init of
 * before. */
static bool is_listener(int fd)
{
	char link[64], target[64];
	struct pollfd p = { .fd = fd };

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	target[n < 0 ? 0 : n] = '\0';
	return strcmp(target, "anon_inode:seccomp notify") == 0 &&
	       !(poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR | POLLNVAL));
}

void lx_listener_found(struct lx_interceptd *d)
{
	char byte;
	int fd = -1;

	(void)lx_fd_recv(d->look_sock, &byte, sizeof(byte), &fd);
	stop_asking(d);
	if (fd < 0)
		return;
	if (!is_listener(fd)) {
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
	d->look_ns = lx_now_monotonic_ns() + LOOK_NS;
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
