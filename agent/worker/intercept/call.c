/*
 * Which call it is, and its way through. libseccomp knows the numbers of each architecture; a call that
 * it does not know by one of our names (x32's, for one) is the kernel's.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/worker/instance/proc.h"
#include "agent/worker/intercept/calls.h"
#include "lib/cleanup.h"
#include "profiles/intercept.h"

/* A mount reads its device, and may have a log to replay. */
#define DEADLINE_MS       2000u
#define DEADLINE_MOUNT_MS 60000u

static void (*const makers[LX_INTERCEPTS])(const struct lx_call *call, struct lx_outcome *out) = {
	[LX_INTERCEPT_MKNOD] = lx_call_mknod,
	[LX_INTERCEPT_MOUNT] = lx_call_mount,
	[LX_INTERCEPT_SETXATTR] = lx_call_setxattr,
	[LX_INTERCEPT_SYSINFO] = lx_call_sysinfo,
};

void lx_call_done(struct lx_outcome *out, int error)
{
	out->done = error != -EREMOTEIO && error != -ESRCH;
	out->error = error;
}

void lx_call_refused(const struct lx_call *call, struct lx_outcome *out, const char *fmt, ...)
{
	va_list ap;

	out->refused = true;
	snprintf(out->refusal.call, sizeof(out->refusal.call), "%s", call->name);
	memcpy(out->refusal.program, call->caller.program, sizeof(out->refusal.program));
	va_start(ap, fmt);
	vsnprintf(out->refusal.what, sizeof(out->refusal.what), fmt, ap);
	va_end(ap);
}

static const struct lx_intercepted *find(const struct seccomp_notif *n)
{
	lx_autofree char *name = seccomp_syscall_resolve_num_arch(n->data.arch, n->data.nr);
	const struct lx_intercepted *c = lx_intercepted_calls;

	while (name && c->name && strcmp(c->name, name) != 0)
		c++;
	return name && c->name ? c : NULL;
}

unsigned lx_call_deadline_ms(const struct seccomp_notif *n)
{
	const struct lx_intercepted *c = find(n);

	return c && c->what == LX_INTERCEPT_MOUNT ? DEADLINE_MOUNT_MS : DEADLINE_MS;
}

void lx_call_make(const struct lx_interceptd *d, int listener, const struct seccomp_notif *n,
		  struct lx_outcome *out)
{
	const struct lx_intercepted *c = find(n);
	struct lx_call call = { .d = d, .n = n };

	if (!c)
		return;
	call.name = c->name;
	call.init = lx_proc_child(d->monitor);
	if (lx_caller_open(listener, n, &call.caller) == 0)
		makers[c->what](&call, out);
}
