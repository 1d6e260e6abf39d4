/* Joining a guest, see the header. */
#include "agent/worker/instance/guest_join.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

static int keep_capabilities(uint32_t keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{ .effective = keep, .permitted = keep },
	};

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int lx_guest_become_root(bool privileged, uint32_t keep, struct lx_err *err)
{
	int r = 0;

	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		r = -errno;
	if (r == 0 && privileged)
		r = keep_capabilities(keep);
	return r < 0 ? lx_err_errno(err, r, "cannot become the guest's root") : 0;
}

int lx_guest_join(int init_pidfd, int namespaces, bool privileged, uint32_t keep, struct lx_err *err)
{
	if (setns(init_pidfd, namespaces | (privileged ? 0 : CLONE_NEWUSER)) < 0)
		return lx_err_errno(err, errno, "cannot enter the guest's namespaces");
	return lx_guest_become_root(privileged, keep, err);
}
