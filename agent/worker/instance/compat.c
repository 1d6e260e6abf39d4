/*
 * security.syscalls.deny_compat: a filter of its own for the system calls of 32-bit programs.
 *
 * It is loaded into the worker, from which liblxc's monitor and the guest's init descend (or the
 * program that enters a guest), because liblxc's policy cannot tell the kinds apart. A move takes
 * it along like every filter: a restore must not load it again.
 */
#include <errno.h>
#include <seccomp.h>

#include "agent/worker/instance/instance.h"
#include "lib/str.h"
#include "profiles/profiles.h"

/* Allows everything of the machine's own kind, and nothing of another. */
static int load(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? 0 : -ENOMEM;

	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
	/* Setuid programs in the guest stay what they are. */
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

int lx_compat_deny(const lx_spec *spec, struct lx_err *err)
{
	struct lx_map config;
	bool deny = false;
	int r = lx_spec_config(spec, &config, err);

	if (r < 0)
		return r;
	lx_parse_bool(lx_config_get(&config, "security.syscalls.deny_compat"), &deny);
	lx_map_release(&config);
	r = deny ? load() : 0;
	return r < 0 ? lx_err_errno(err, r, "cannot refuse the system calls of 32-bit programs") : 0;
}
