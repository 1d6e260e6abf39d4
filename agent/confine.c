/* Giving up privileges, see the header. */
#include "agent/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define BIT(cap) (UINT64_C(1) << CAP_##cap)

lx_capabilities lx_agent_gives_up(void)
{
	/*
	 * The kernel loads what mounts and packet filters need by itself, for which nobody needs
	 * sys_module. Not here, though no guest has it over the machine: sys_time, with which CRIU sets
	 * the clocks of time namespaces; syslog, ipc_lock, sys_nice and audit_control, which programs of
	 * an image under construction may ask for; audit_read, with which denials are read (denial/audit.c).
	 */
	return BIT(SYS_MODULE) | BIT(SYS_RAWIO) | BIT(MAC_OVERRIDE) | BIT(SYS_PACCT) | BIT(SYS_TTY_CONFIG) |
	       BIT(WAKE_ALARM) | BIT(BLOCK_SUSPEND);
}

/* A program that root starts has what the bounding set leaves. */
static int bound(lx_capabilities set, struct lx_err *err)
{
	for (size_t cap = 0; cap < lx_n_capability_names; cap++)
		if (set & UINT64_C(1) << cap && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return lx_err_errno(err, errno, "cannot give up capability %s",
					    lx_capability_names[cap]);
	return 0;
}

/* From its own sets; in version 3 the second word has the numbers from 32 on. */
static int drop(lx_capabilities set, struct lx_err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct words[2];

	if (syscall(SYS_capget, &header, words) < 0)
		return lx_err_errno(err, errno, "cannot read capabilities");
	for (size_t i = 0; i < LX_ARRAY_SIZE(words); i++) {
		uint32_t keep = ~(uint32_t)(set >> 32 * i);

		words[i].effective &= keep;
		words[i].permitted &= keep;
		words[i].inheritable &= keep;
	}
	if (syscall(SYS_capset, &header, words) < 0)
		return lx_err_errno(err, errno, "cannot give up capabilities");
	return 0;
}

int lx_agent_confine(struct lx_err *err)
{
	int r = bound(lx_agent_gives_up(), err);

	if (r == 0)
		r = drop(lx_agent_gives_up(), err);
	if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		r = lx_err_errno(err, errno, "cannot keep memory to itself");
	return r;
}
