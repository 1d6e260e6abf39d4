/*
 * What enters a guest later, and whose system calls stop like those of its init.
 *
 * liblxc would have its monitor read them, which then waits for an answer and does nothing else. So
 * liblxc gets a policy without them (seccomp.inside, laid over the other one for this process alone),
 * and a filter for them is loaded beside it, in the same moment (seccomp_load.c). Its listener comes out
 * over a socket. Of several filters the kernel takes the strictest answer: what the policy refuses does
 * not stop.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/intercepts.h"
#include "agent/worker/instance/rootfs.h"
#include "agent/worker/intercept_message.h"
#include "lib/cleanup.h"
#include "lib/fd_pass.h"
#include "profiles/intercept.h"

static unsigned wanted; /* calls, as of lx_intercepts_running() */
static int channel = -1;

static int add(scmp_filter_ctx filter, const struct lx_intercepted *c)
{
	int nr = seccomp_syscall_resolve_name(c->name);

	/* An architecture without it: nothing to stop. */
	if (nr == __NR_SCMP_ERROR)
		return 0;
	struct scmp_arg_cmp when[2];
	unsigned n = 0;

	if (c->arg >= 0)
		when[n++] = SCMP_CMP((unsigned)c->arg, SCMP_CMP_MASKED_EQ, c->mask, c->value);
	if (c->arg >= 0 && c->some >= 0)
		when[n++] = SCMP_CMP((unsigned)c->some, SCMP_CMP_NE, 0, 0);
	return seccomp_rule_add_array(filter, SCMP_ACT_NOTIFY, nr, n, when);
}

/* In the guest, just before liblxc's own filter. */
static int load(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? 0 : -ENOMEM;

	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
	/* Its 32-bit programs, as far as there are such. */
	if (r == 0 && seccomp_arch_native() == SCMP_ARCH_X86_64)
		r = seccomp_arch_add(filter, SCMP_ARCH_X86);
	for (unsigned i = 0; lx_intercepted_calls[i].name && r == 0; i++)
		if (wanted & 1U << i)
			r = add(filter, &lx_intercepted_calls[i]);
	if (r == 0)
		r = lx_seccomp_load(filter);
	if (r == 0) {
		int fd = seccomp_notify_fd(filter);

		r = fd < 0 ? fd : lx_fd_send(channel, "l", 1, fd);
		if (fd >= 0)
			close(fd);
	}
	seccomp_release(filter);
	return r;
}

static int lay_policy(const struct lx_job *job, struct lx_err *err)
{
	char policy[LX_JOB_PATH_MAX], inside[LX_JOB_PATH_MAX];
	int r = lx_mounts_private(err);

	if (r < 0)
		return r;
	lx_job_path(job, policy, "seccomp");
	lx_job_path(job, inside, LX_POLICY_INSIDE);
	return mount(inside, policy, NULL, MS_BIND, NULL) < 0
		       ? lx_err_errno(err, errno, "cannot lay %s over %s", inside, policy)
		       : 0;
}

int lx_intercepts_enter(const struct lx_job *job, int *ret_fd, struct lx_err *err)
{
	int pair[2];

	*ret_fd = -1;
	wanted = lx_intercepts_running(job);
	if (!wanted)
		return 0;
	int r = lay_policy(job, err);

	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return lx_err_errno(err, errno, "cannot make a socket pair");
	channel = pair[1];
	lx_seccomp_before(load);
	*ret_fd = pair[0];
	return 0;
}

int lx_intercepts_entered(const struct lx_job *job, int fd, struct lx_err *err)
{
	lx_autoclose int ours = fd, listener = -1;
	char byte;

	if (ours < 0)
		return 0;
	/* The guest's half, which is in the other process by now: should that one die, it shows. */
	close(channel);
	if (lx_fd_recv(ours, &byte, sizeof(byte), &listener) != sizeof(byte) || listener < 0)
		return lx_err_set(err, LX_INTERNAL, "what enters %s cannot have its system calls made for it",
				  job->name);
	return lx_intercepts_serve(job, listener, err);
}
