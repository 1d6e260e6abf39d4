/*
 * mknod(2), mknodat(2): a harmless device node, owned by whom its maker's files belong to, where its
 * maker may write. Of the file systems that a guest has, those that it starts from or makes itself:
 * never a directory of the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/limits.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/worker/intercept/calls.h"
#include "lib/cleanup.h"
#include "profiles/intercept.h"

#define BIT(cap) (UINT64_C(1) << CAP_##cap)

/* The machine's right to make it stays with us; what else counts is the caller's. */
static int make(const struct lx_caller *c, int dir, const char *name, mode_t mode, dev_t dev)
{
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0)
		return -EREMOTEIO;
	(void)setfsgid(c->gid);
	(void)setfsuid(c->uid);
	umask(c->umask);
	return mknodat(dir, name, mode, dev) < 0 ? -errno : 0;
}

void lx_call_mknod(const struct lx_call *call, struct lx_outcome *out)
{
	const struct lx_caller *c = &call->caller;
	bool at = strcmp(call->name, "mknodat") == 0;
	const __u64 *args = call->n->data.args + at;
	int dirfd = at ? (int)call->n->data.args[0] : AT_FDCWD;
	uint32_t mode = (uint32_t)args[1], dev = (uint32_t)args[2];
	char path[PATH_MAX], name[256];

	if ((mode & LX_MODE_TYPE) != LX_MODE_CHAR || dev == 0 || !lx_caller_may(c, call->init, BIT(MKNOD)))
		return;
	if (!lx_intercept_device(mode, dev)) {
		lx_call_refused(call, out, "c %u:%u", lx_intercept_major(dev), lx_intercept_minor(dev));
		return;
	}
	int r = lx_caller_text(c, args[0], path, sizeof(path));

	if (r == 0)
		r = lx_walk_split(path, name);
	if (r < 0) {
		lx_call_done(out, r);
		return;
	}
	lx_autoclose int dir = lx_walk(c, dirfd, path, LX_WALK_PARENT);

	if (dir < 0) {
		lx_call_done(out, dir);
		return;
	}
	if (!lx_walk_is_plain(dir) || !lx_caller_waits(c))
		return;
	lx_call_done(out, make(c, dir, name, (mode_t)mode & (LX_MODE_TYPE | 07777),
			       makedev(lx_intercept_major(dev), lx_intercept_minor(dev))));
}
