/*
 * A call's way: out of the kernel into a slot, to a child, and back with what came of it. A child that
 * dies or is late leaves its call to the kernel.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/intercept/daemon.h"
#include "lib/clock.h"

#define CALLS_A_SECOND 500u
#define NS_OF_MS       UINT64_C(1000000)

/* ------------------------------------------------------------------ answers */

static void answer(struct lx_slot *slot, const struct lx_listener *l, const struct lx_outcome *o)
{
	struct seccomp_notif_resp resp = { .id = slot->call.id };

	if (o->done)
		resp.error = o->error;
	else
		resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	/* ENOENT: it was killed meanwhile. */
	(void)ioctl(l->fd, SECCOMP_IOCTL_NOTIF_SEND, &resp);
}

static void answer_once(struct lx_interceptd *d, unsigned i, bool in_time)
{
	static const struct lx_outcome none;
	struct lx_running *r = &d->running[i];
	struct lx_outcome *o = r->outcome;

	if (r->answered)
		return;
	r->answered = true;
	answer(&d->slots->at[i], r->listener, in_time && o ? o : &none);
	if (in_time && o && o->refused)
		lx_intercept_tell(d, &o->refusal);
}

static void free_slot(struct lx_interceptd *d, unsigned i)
{
	struct lx_running *r = &d->running[i];

	if (r->outcome)
		munmap(r->outcome, sizeof(*r->outcome));
	if (r->listener)
		r->listener->calls--;
	*r = (struct lx_running){ .pidfd = -1 };
	d->slots->at[i].state = LX_SLOT_FREE;
}

/* ------------------------------------------------------------------ children */

static void be_child(const struct lx_interceptd *d, const struct lx_slot *slot, int listener,
		     struct lx_outcome *out, pid_t parent)
{
	/* What it works with is its own: the file belongs to who answers. */
	struct seccomp_notif call = slot->call;
	struct lx_outcome made = { 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(d->slots_fd);
	if (getppid() == parent) {
		lx_call_make(d, listener, &call, &made);
		*out = made;
	}
	_exit(0);
}

void lx_serve_begin(struct lx_interceptd *d, unsigned i, struct lx_listener *l)
{
	struct lx_running *r = &d->running[i];
	pid_t self = getpid();
	void *map = mmap(NULL, sizeof(struct lx_outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			 -1, 0);

	*r = (struct lx_running){ .listener = l,
				  .pidfd = -1,
				  .outcome = map == MAP_FAILED ? NULL : map,
				  .deadline_ns = lx_now_monotonic_ns() +
						 lx_call_deadline_ms(&d->slots->at[i].call) * NS_OF_MS };
	l->calls++;
	r->pid = r->outcome ? fork() : -1;
	if (r->pid == 0)
		be_child(d, &d->slots->at[i], l->fd, r->outcome, self);
	if (r->pid > 0)
		r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	if (r->pidfd >= 0)
		return;
	/* Out of memory, processes or descriptors. */
	if (r->pid > 0) {
		kill(r->pid, SIGKILL);
		while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	answer_once(d, i, false);
	free_slot(d, i);
}

void lx_serve_ended(struct lx_interceptd *d, unsigned i)
{
	struct lx_running *r = &d->running[i];
	int status = 0;

	if (waitpid(r->pid, &status, WNOHANG) != r->pid)
		return;
	answer_once(d, i, WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(r->pidfd);
	free_slot(d, i);
}

void lx_serve_late(struct lx_interceptd *d)
{
	uint64_t now = lx_now_monotonic_ns();

	for (unsigned i = 0; i < LX_CALLS_MAX; i++)
		if (d->running[i].pid && !d->running[i].answered && now >= d->running[i].deadline_ns) {
			kill(d->running[i].pid, SIGKILL);
			answer_once(d, i, false);
		}
}

/* ------------------------------------------------------------------ taking */

static int find_free(const struct lx_interceptd *d)
{
	for (unsigned i = 0; i < LX_CALLS_MAX; i++)
		if (d->slots->at[i].state == LX_SLOT_FREE && !d->running[i].pid)
			return (int)i;
	return -1;
}

bool lx_serve_ready(struct lx_interceptd *d, int *ret_ms)
{
	uint64_t now = lx_now_monotonic_ns();

	d->budget += (double)(now - d->budget_ns) * CALLS_A_SECOND / (double)LX_NSEC_PER_SEC;
	d->budget_ns = now;
	if (d->budget > CALLS_A_SECOND)
		d->budget = CALLS_A_SECOND;
	*ret_ms = -1;
	if (find_free(d) < 0)
		return false;
	if (d->budget >= 1)
		return true;
	*ret_ms = 1 + (int)((1 - d->budget) * 1000 / CALLS_A_SECOND);
	return false;
}

void lx_serve_take(struct lx_interceptd *d, struct lx_listener *l)
{
	int i = d->budget >= 1 ? find_free(d) : -1;

	if (i < 0)
		return;
	struct lx_slot *s = &d->slots->at[i];

	/* The kernel wants zeroes, and writes the call itself: from then on it is in the file. */
	memset(&s->call, 0, sizeof(s->call));
	s->state = l->init ? LX_SLOT_OF_INIT : LX_SLOT_OF_OTHERS;
	if (ioctl(l->fd, SECCOMP_IOCTL_NOTIF_RECV, &s->call) < 0) {
		/* ENOENT: who called was killed, or does not wait any more. */
		s->state = LX_SLOT_FREE;
		return;
	}
	d->budget -= 1;
	lx_serve_begin(d, (unsigned)i, l);
}
