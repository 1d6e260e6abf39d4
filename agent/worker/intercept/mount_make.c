/*
 * Making a mount for a guest, step by step. What the guest says of it is in `plan` and in a descriptor; no
 * path of it is gone here.
 *
 *   a mount namespace of our own, rooted in a tmpfs with nothing but the device's node
 *   the file system, made by the machine's right, with the guest's ids laid over it
 *   the caller's ids and user namespace, and a copy of our mount namespace in it: by that the kernel locks
 *	nodev, nosuid and read-only, as on whatever else a guest gets from outside
 *   a copy of the mount alone, which is nobody's, put to its place with no more than the caller's rights
 *
 * All of it ends with this process, whatever ends it, but for a mount that has reached its place.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/intercept/calls.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "profiles/intercept_mount.h"

/* A root for us alone, in which the device has the name that it is shown by. */
static int lay_root(const char *run_dir, const char *shown, dev_t dev)
{
	lx_autofree char *dir = strdup(shown);
	char *last = dir ? strrchr(dir, '/') : NULL;

	if (!last)
		return -EREMOTEIO;
	*last = '\0';
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", run_dir, "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,mode=0700") < 0 ||
	    chdir(run_dir) < 0 || chroot(".") < 0 || (*dir && lx_mkdir_p(dir, 0700, NULL) < 0))
		return -EREMOTEIO;
	/* The filter of the instance's devices is asked here already. */
	if (mknod(shown, S_IFBLK | 0600, dev) < 0)
		return errno == EPERM ? -EPERM : -EREMOTEIO;
	return 0;
}

/* The kernel's errors from here on are the caller's to hear: what is wrong with its file system. */
static int configure(int fs, const char *shown, const struct lx_mount_plan *plan)
{
	if (fsconfig(fs, FSCONFIG_SET_STRING, "source", shown, 0) < 0)
		return -errno;
	for (size_t i = 0; i < plan->n_options; i++)
		if (fsconfig(fs, plan->options[i].value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
			     plan->options[i].name, plan->options[i].value, 0) < 0)
			return -errno;
	return fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -errno : 0;
}

static int make(const char *type, const char *shown, const struct lx_mount_plan *plan, int user_ns)
{
	struct mount_attr ids = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)user_ns };
	lx_autoclose int fs = fsopen(type, FSOPEN_CLOEXEC);
	int r = fs < 0 ? -errno : configure(fs, shown, plan);

	if (r < 0)
		return r;
	lx_autoclose int tree = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)plan->attributes);

	if (tree < 0)
		return -errno;
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &ids, sizeof(ids)) < 0)
		return errno == EINVAL ? -EXDEV : -errno;
	return lx_move_fd(tree);
}

/* Becomes the caller, with a copy of that mount. */
static int cross(const struct lx_caller *c, int tree, int user_ns, int mnt_ns)
{
	if (move_mount(tree, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(tree) < 0 ||
	    lx_caller_become(c) < 0 || setns(user_ns, CLONE_NEWUSER) < 0 || unshare(CLONE_NEWNS) < 0)
		return -EREMOTEIO;
	/* Where we stand is the copy's root by now. */
	lx_autoclose int copy = open_tree(AT_FDCWD, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	if (copy < 0 || setns(mnt_ns, CLONE_NEWNS) < 0 || lx_caller_take_capabilities(c) < 0)
		return -EREMOTEIO;
	return lx_move_fd(copy);
}

int lx_mount_make(const struct lx_caller *c, const char *run_dir, const char *type, const char *shown,
		  dev_t dev, const struct lx_mount_plan *plan, int target)
{
	lx_autoclose int mnt_ns = openat(c->proc, "ns/mnt", O_RDONLY | O_CLOEXEC);
	lx_autoclose int user_ns = openat(c->proc, "ns/user", O_RDONLY | O_CLOEXEC);

	if (mnt_ns < 0 || user_ns < 0 || !lx_caller_waits(c))
		return -EREMOTEIO;
	int r = lay_root(run_dir, shown, dev);

	if (r < 0)
		return r;
	lx_autoclose int tree = make(type, shown, plan, user_ns);

	if (tree < 0)
		return tree;
	lx_autoclose int copy = cross(c, tree, user_ns, mnt_ns);

	if (copy < 0)
		return copy;
	if (!lx_caller_waits(c))
		return -EREMOTEIO;
	return move_mount(copy, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
		       ? -errno
		       : 0;
}
