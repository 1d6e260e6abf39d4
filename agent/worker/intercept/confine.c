/*
 * What none of this needs is given up before the first call: it works with what guests say. Kept is
 * what enters a guest as one of its processes (sys_admin, sys_chroot, setuid, setgid, setpcap), looks
 * at these (sys_ptrace, dac_*), and makes what they may not (mknod; sys_admin for trusted attributes).
 */
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/worker/intercept/daemon.h"

#define BIT(cap) (UINT64_C(1) << CAP_##cap)
#define KEPT                                                                                                 \
	(BIT(SYS_ADMIN) | BIT(SYS_CHROOT) | BIT(SYS_PTRACE) | BIT(SETUID) | BIT(SETGID) | BIT(SETPCAP) |     \
	 BIT(DAC_OVERRIDE) | BIT(DAC_READ_SEARCH) | BIT(FOWNER) | BIT(MKNOD))

int lx_intercept_confine(struct lx_err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct words[_LINUX_CAPABILITY_U32S_3];

	for (unsigned long cap = 0; cap < 64; cap++)
		if (!(KEPT & UINT64_C(1) << cap) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return lx_err_errno(err, errno, "cannot give up capability %lu", cap);
	if (syscall(SYS_capget, &header, words) < 0)
		return lx_err_errno(err, errno, "cannot read capabilities");
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		uint32_t keep = (uint32_t)(KEPT >> 32 * i);

		words[i].effective &= keep;
		words[i].permitted &= keep;
		words[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &header, words) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return lx_err_errno(err, errno, "cannot give up capabilities");
	return 0;
}
