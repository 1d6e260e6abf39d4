/*
 * Mounting an instance's root file system.
 *
 * overlayfs stacks, from the top: the instance's upper directory, owned by its own ids on
 * disk; the image; for systemd guests a small layer of drop-ins. Image and drop-ins belong
 * to root on disk and are shared by all instances: each sees them through an id-mapped
 * mount that is laid over the directory itself, which nobody else notices in this mount
 * namespace, and taken away again once overlayfs holds its own reference. A privileged instance has
 * the machine's ids, and sees both as they are.
 *
 * The drop-ins lie below the image, not above: overlayfs ties the upper directory to the
 * root of the highest lower layer, and that must stay the same when a new version of this
 * program brings other drop-ins. index and nfs_export are what live migration needs.
 */
#include "agent/worker/instance/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/worker/disk_quota.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "profiles/intercept.h"

/* The last mount of the same upper directory may be on its way out when an instance is restarted. */
#define BUSY_RETRY_MS 5
#define BUSY_RETRIES  400

#define RACE_RETRIES 10000

int lx_mounts_private(struct lx_err *err)
{
	/* Slave, not private: what the node mounts and unmounts later still arrives here. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return lx_err_errno(err, errno, "cannot make a mount namespace");
	return 0;
}

/* ------------------------------------------------------------------ looking into trees */

int lx_open_in_root(int root_fd, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd = -1;

	/* EAGAIN: something was renamed or mounted anywhere on the machine while a ".." was followed. */
	for (int i = 0; i < RACE_RETRIES; i++) {
		fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd < 0 ? -errno : fd;
}

bool lx_tree_has_systemd(int root_fd)
{
	lx_autoclose int a = lx_open_in_root(root_fd, "usr/lib/systemd/systemd");
	lx_autoclose int b = lx_open_in_root(root_fd, "lib/systemd/systemd");

	return a >= 0 || b >= 0;
}

/* ------------------------------------------------------------------ image */

void lx_image_path(const struct lx_job *job, const char *fingerprint, char out[LX_JOB_PATH_MAX])
{
	snprintf(out, LX_JOB_PATH_MAX, "%s/images/%s/rootfs", job->state_dir, fingerprint);
}

int lx_image_check(const struct lx_job *job, const char *fingerprint, struct lx_err *err)
{
	char record[LX_JOB_PATH_MAX], tree[LX_JOB_PATH_MAX];

	snprintf(record, sizeof(record), "%s/images/%s/image.pb", job->state_dir, fingerprint);
	lx_image_path(job, fingerprint, tree);
	if (lx_path_exists(record) && lx_is_dir(tree))
		return 0;
	int r = lx_err_set(err, LX_NOT_FOUND, "the image %.12s of %s is not on this node", fingerprint,
			   job->name);

	lx_err_hint(err, "Import it again: lxmgr image list shows which ones there are.");
	return r;
}

/* ------------------------------------------------------------------ mounting */

/* Lays an id-mapped view of a directory over itself. */
static int map_ids(const char *path, int userns_fd, struct lx_err *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd };
	lx_autoclose int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0)
		return lx_err_errno(err, errno, "cannot clone the mount of %s", path);
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		int r = lx_err_errno(err, errno, "cannot map the ids of %s", path);

		lx_err_hint(err, "The state directory must be on a file system with id-mapped mounts: ext4, "
				 "xfs, btrfs.");
		return r;
	}
	if (move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return lx_err_errno(err, errno, "cannot mount %s", path);
	return 0;
}

static int explain(const struct lx_job *job, int errnum, struct lx_err *err)
{
	int r = lx_err_errno(err, errnum, "cannot mount the root file system of %s", job->name);

	if (errnum == ESTALE)
		lx_err_hint(err,
			    "Its image was replaced by another copy, which its changed files do not fit. "
			    "Put the old one back, or delete and create the instance anew.");
	else if (errnum == EBUSY)
		lx_err_hint(err,
			    "Something else holds its file system mounted: wait for file transfers to "
			    "end, or look for mounts of %.200s.",
			    job->dir);
	else if (errnum == EINVAL)
		lx_err_hint(err, "The kernel's log (dmesg) names the reason. The state directory must be on "
				 "ext4, xfs or btrfs, not on another overlay.");
	return r;
}

static int mount_upper(const struct lx_job *job, const char *image, const char *layer, bool nodes,
		       struct lx_err *err)
{
	char target[LX_JOB_PATH_MAX], upper[LX_JOB_PATH_MAX], work[LX_JOB_PATH_MAX];
	char options[5 * LX_JOB_PATH_MAX];

	lx_job_path(job, target, "rootfs");
	lx_job_own_path(job, upper, "upper");
	lx_job_own_path(job, work, "work");
	snprintf(options, sizeof(options), "lowerdir=%s%s%s,upperdir=%s,workdir=%s,index=on,nfs_export=on",
		 image, *layer ? ":" : "", layer, upper, work);
	for (int i = 0;; i++) {
		/*
		 * nodev: an image's device nodes would otherwise be the guest root's to use. Of one that is
		 * to make nodes the filter of its devices says which open.
		 */
		if (mount("lxmgr", target, "overlay", nodes ? 0 : MS_NODEV, options) == 0)
			return 0;
		if (errno != EBUSY || i == BUSY_RETRIES)
			return explain(job, errno, err);
		(void)poll(NULL, 0, BUSY_RETRY_MS);
	}
}

/*
 * overlayfs makes directories in work/ when it is mounted, and where it cannot, the whole is read-only: what
 * has filled its disk could not be started to be emptied. So it is not bounded in this moment, in which
 * nothing of the guest's runs.
 */
static int mount_overlay(const struct lx_job *job, const char *image, const char *layer, bool nodes,
			 struct lx_err *err)
{
	struct lx_quota_room room;
	bool bounded = lx_quota_read(job->dir, &room) == 0 && room.limit > 0;
	int r = bounded ? lx_quota_bound(job->dir, 0, err) : 0;

	if (r == 0)
		r = mount_upper(job, image, layer, nodes, err);
	if (bounded && lx_quota_bound(job->dir, room.limit, r == 0 ? err : NULL) < 0 && r == 0)
		r = -EIO;
	return r;
}

static int find_layer(const struct lx_job *job, const char *image, char out[LX_JOB_PATH_MAX],
		      struct lx_err *err)
{
	lx_autoclose int root = open(image, O_PATH | O_DIRECTORY | O_CLOEXEC);

	*out = '\0';
	if (root < 0)
		return lx_err_errno(err, errno, "cannot open %s", image);
	return lx_tree_has_systemd(root) ? lx_guest_layer_path(job, out, err) : 0;
}

static int mount_mapped(const struct lx_job *job, const char *image, const char *layer, bool nodes,
			int userns_fd, struct lx_err *err)
{
	int r = map_ids(image, userns_fd, err);

	if (r < 0)
		return r;
	r = *layer ? map_ids(layer, userns_fd, err) : 0;
	if (r == 0) {
		r = mount_overlay(job, image, layer, nodes, err);
		if (*layer)
			(void)umount2(layer, MNT_DETACH);
	}
	(void)umount2(image, MNT_DETACH);
	return r;
}

static bool makes_nodes(const lx_spec *spec)
{
	unsigned what = 0;

	for (size_t i = 0; i < spec->n_config; i++)
		what |= lx_intercept_of_key(spec->config[i]->key, spec->config[i]->value);
	return what & 1U << LX_INTERCEPT_MKNOD;
}

int lx_rootfs_mount(const struct lx_job *job, const lx_spec *spec, int userns_fd, int *ret_root_fd,
		    struct lx_err *err)
{
	char image[LX_JOB_PATH_MAX], layer[LX_JOB_PATH_MAX], target[LX_JOB_PATH_MAX];

	lx_image_path(job, spec->image_fingerprint, image);
	int r = find_layer(job, image, layer, err);

	if (r < 0)
		return r;
	bool nodes = makes_nodes(spec);

	r = userns_fd < 0 ? mount_overlay(job, image, layer, nodes, err)
			  : mount_mapped(job, image, layer, nodes, userns_fd, err);
	if (r < 0)
		return r;
	lx_job_path(job, target, "rootfs");
	*ret_root_fd = open(target, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_root_fd < 0)
		return lx_err_errno(err, errno, "cannot open %s", target);
	return 0;
}
