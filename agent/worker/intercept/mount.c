/*
 * mount(2) of a block device that the guest was given, with a file system that its administrator trusts;
 * and fsopen(2), the other way to begin a mount, which is answered as by a kernel without it, so that
 * mount(8) takes this one. That is for types that are mounted here alone: all others go on to the kernel,
 * like remounts, binds and moves, which do not even stop.
 *
 * Which device it is is said by the node that the caller's path leads to; whether it may be used, by the
 * kernel, which asks the filter of the instance's devices about whatever is opened in here (daemon.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/worker/intercept/calls.h"
#include "agent/worker/intercept_message.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "profiles/host_device.h"
#include "profiles/intercept_mount.h"

/* The longest name of a type that there is, and some more. */
#define TYPE_MAX 16

/* The list that the instance was started with, whatever its configuration has become since. */
static bool is_allowed(const struct lx_call *call, const char *type)
{
	char path[LX_JOB_PATH_MAX];
	lx_autobuf struct lx_buf list = { 0 };

	snprintf(path, sizeof(path), "%s/%s/" LX_MOUNTS_ALLOWED, call->d->job.lxc_path, call->d->job.name);
	return lx_read_file(path, LX_MOUNT_TEXT_MAX, &list, NULL) == 0 &&
	       lx_mount_is_allowed(lx_buf_str(&list), type);
}

/* Nothing of ours: another type, or no device. A type that is ours and not allowed is told of. */
static bool is_ours(const struct lx_call *call, const char *type, struct lx_outcome *out)
{
	for (const char *const *t = lx_mount_types; *t; t++)
		if (strcmp(*t, type) == 0) {
			if (is_allowed(call, type))
				return true;
			lx_call_refused(call, out, "%s", type);
		}
	return false;
}

/* The device behind the caller's path, and its name in tables of mounts; false: the kernel's to refuse. */
static bool find_device(const struct lx_call *call, char path[PATH_MAX], dev_t *ret)
{
	struct stat st;
	struct statvfs fs;
	lx_autoclose int fd = lx_walk(&call->caller, AT_FDCWD, path, LX_WALK_FOLLOW);

	/* One in a file system that is mounted nodev opens nothing. */
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISBLK(st.st_mode) || fstatvfs(fd, &fs) < 0 ||
	    fs.f_flag & ST_NODEV)
		return false;
	*ret = st.st_rdev;
	if (lx_device_path_fault(path))
		snprintf(path, PATH_MAX, "/dev/block/%u:%u", major(*ret), minor(*ret));
	return true;
}

static bool read_plan(const struct lx_call *call, const char *type, char data[LX_MOUNT_TEXT_MAX],
		      struct lx_mount_plan *plan, struct lx_outcome *out)
{
	const __u64 *args = call->n->data.args;
	const char *fault = "options";

	data[0] = '\0';
	if ((args[4] && lx_caller_text(&call->caller, args[4], data, LX_MOUNT_TEXT_MAX) < 0) ||
	    lx_mount_plan(type, args[3], data, plan, &fault) < 0) {
		lx_call_refused(call, out, "%s with %.24s", type, fault);
		return false;
	}
	return true;
}

/* As mount(2) has it. It puts a file system on its own root no second time: nor do we, should this be the
 * second time that we see this call. */
static int check_target(int target, dev_t dev)
{
	struct statx st;

	if (statx(target, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.stx_mode))
		return -ENOTDIR;
	return st.stx_attributes & STATX_ATTR_MOUNT_ROOT && makedev(st.stx_dev_major, st.stx_dev_minor) == dev
		       ? -EBUSY
		       : 0;
}

static void mount_device(const struct lx_call *call, const char *type, struct lx_outcome *out)
{
	const struct lx_caller *c = &call->caller;
	const __u64 *args = call->n->data.args;
	char source[PATH_MAX], path[PATH_MAX], data[LX_MOUNT_TEXT_MAX];
	struct lx_mount_plan plan;
	dev_t dev;

	if (lx_caller_text(c, args[0], source, sizeof(source)) < 0 || !find_device(call, source, &dev) ||
	    !read_plan(call, type, data, &plan, out))
		return;
	int r = lx_caller_text(c, args[1], path, sizeof(path));
	lx_autoclose int target = r < 0 ? r : lx_walk(c, AT_FDCWD, path, LX_WALK_FOLLOW);

	r = target < 0 ? target : check_target(target, dev);
	if (r == 0 && !lx_caller_waits(c))
		r = -EREMOTEIO;
	if (r == 0)
		r = lx_mount_make(c, call->d->job.run_dir, type, source, dev, &plan, target);
	if (r == -EPERM)
		lx_call_refused(call, out, "%s on %u:%u", type, major(dev), minor(dev));
	else if (r == -EXDEV)
		lx_call_refused(call, out, "%s: the kernel takes no ids for it", type);
	else
		lx_call_done(out, r);
}

void lx_call_mount(const struct lx_call *call, struct lx_outcome *out)
{
	const struct lx_caller *c = &call->caller;
	const __u64 *args = call->n->data.args;
	bool opens = strcmp(call->name, "fsopen") == 0;
	char type[TYPE_MAX];

	if ((!opens && args[3] & LX_MOUNT_OTHER_FLAGS) ||
	    lx_caller_text(c, args[opens ? 0 : 2], type, sizeof(type)) < 0 ||
	    !lx_caller_may(c, call->init, UINT64_C(1) << CAP_SYS_ADMIN) || !is_ours(call, type, out))
		return;
	if (opens)
		lx_call_done(out, -ENOSYS);
	else
		mount_device(call, type, out);
}
