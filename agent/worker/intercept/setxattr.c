/*
 * setxattr(2), lsetxattr(2), fsetxattr(2): trusted.overlay.opaque=y on a directory. All other
 * attributes are none of ours, and what the kernel reads of them a second time it judges itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/worker/intercept/calls.h"
#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/intercept.h"

/* Its numbers for an open file, which must be one to write attributes to. */
static int open_number(const struct lx_caller *c, int fd)
{
	char number[32];

	snprintf(number, sizeof(number), "fd/%d", fd);
	int got = openat(c->proc, number, O_PATH | O_CLOEXEC);

	return got < 0 ? -EBADF : lx_caller_waits(c) ? got : (close(got), -EREMOTEIO);
}

static int open_target(const struct lx_call *call)
{
	const struct lx_caller *c = &call->caller;
	char path[PATH_MAX];

	if (strcmp(call->name, "fsetxattr") == 0)
		return open_number(c, (int)call->n->data.args[0]);
	int r = lx_caller_text(c, call->n->data.args[0], path, sizeof(path));

	return r < 0 ? r
		     : lx_walk(c, AT_FDCWD, path,
			       strcmp(call->name, "lsetxattr") == 0 ? LX_WALK_LINK : LX_WALK_FOLLOW);
}

static int set(int fd, const char *name, const char *value, size_t len, int flags)
{
	char path[64];

	/* An O_PATH descriptor takes no attributes; its link does. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return setxattr(path, name, value, len, flags) < 0 ? -errno : 0;
}

void lx_call_setxattr(const struct lx_call *call, struct lx_outcome *out)
{
	const struct lx_caller *c = &call->caller;
	const __u64 *args = call->n->data.args;
	char name[XATTR_NAME_MAX + 1], value[1] = { 0 };
	struct stat st;

	if (lx_caller_text(c, args[1], name, sizeof(name)) < 0 || !lx_starts_with(name, LX_INTERCEPT_XATTR) ||
	    !lx_caller_may(c, call->init, UINT64_C(1) << CAP_SYS_ADMIN))
		return;
	if (args[3] != sizeof(value) || lx_caller_bytes(c, args[2], value, sizeof(value)) < 0 ||
	    !lx_intercept_xattr(name, value, sizeof(value)) ||
	    args[4] & ~(__u64)(XATTR_CREATE | XATTR_REPLACE)) {
		lx_call_refused(call, out, LX_INTERCEPT_XATTR "%.24s", name + strlen(LX_INTERCEPT_XATTR));
		for (char *p = out->refusal.what; *p; p++)
			if (*p < ' ' || *p > '~')
				*p = '?';
		return;
	}
	lx_autoclose int fd = open_target(call);

	if (fd < 0)
		lx_call_done(out, fd);
	else if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && lx_walk_is_plain(fd) && lx_caller_waits(c))
		lx_call_done(out, set(fd, name, value, sizeof(value), (int)args[4]));
}
