/*
 * Creating an instance: its directory, its file system's upper layer, the files that make
 * the guest know its name and network, and last its specification.
 *
 *	<state_dir>/instances/<name>/	0710 root:<guest's root>; 0700 when that is the machine's
 *		spec.pb			its presence means that the instance exists
 *		upper/  work/		overlayfs; upper belongs to the guest's root
 *		disk/			on btrfs with quotas: a subvolume, and those two are in it
 *		rootfs/			where the whole is mounted
 *		devices/		what it has of its node, as long as it runs (devices.h)
 *		snapshots/		its files as they were (agent/worker/snapshot_dir.h)
 *
 * Only root and the guest's own root get through the instance's directory: other users of
 * the machine shall not reach the guest's set-uid programs. A directory without spec.pb is a
 * creation that was cut short; the next one begins anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/disk_quota.h"
#include "agent/worker/instance/disk_size.h"
#include "agent/worker/instance/guest.h"
#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/rootfs.h"
#include "agent/worker/snapshot_dir.h"
#include "lib/cleanup.h"
#include "lib/fs.h"

static int make_dir(const char *path, mode_t mode, uid_t uid, gid_t gid, struct lx_err *err)
{
	if ((mkdir(path, mode) < 0 && errno != EEXIST) || chown(path, uid, gid) < 0 || chmod(path, mode) < 0)
		return lx_err_errno(err, errno, "cannot make %s", path);
	return 0;
}

/* What a creation that was cut short may have left in there. */
static int remove_own(const struct lx_job *job, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];

	lx_quota_release(job->dir);
	lx_job_own_path(job, path, "upper");
	int r = lx_rm_rf(path, err);

	if (r < 0)
		return r;
	lx_job_own_path(job, path, "work");
	r = lx_rm_rf(path, err);
	if (r < 0)
		return r;
	lx_job_path(job, path, LX_SNAPSHOTS_DIR);
	return lx_rm_rf(path, err);
}

int lx_instance_make_dirs(const struct lx_job *job, const lx_spec *spec, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	uint32_t base = lx_spec_id_base(spec);
	int r;

	snprintf(path, sizeof(path), "%s/instances", job->state_dir);
	if ((r = lx_mkdir_p(path, 0711, err)) < 0 ||
	    (r = make_dir(job->dir, base ? 0710 : 0700, 0, base, err)) < 0 ||
	    (r = remove_own(job, err)) < 0 || (r = lx_quota_make(job->dir, err)) < 0)
		return r;
	lx_job_own_path(job, path, "upper");
	if ((r = make_dir(path, 0755, base, base, err)) < 0)
		return r;
	lx_job_own_path(job, path, "work");
	if ((r = make_dir(path, 0700, 0, 0, err)) < 0)
		return r;
	lx_job_path(job, path, "rootfs");
	if ((r = make_dir(path, 0700, 0, 0, err)) < 0)
		return r;
	return lx_disk_size_prepare(job, spec, err);
}

static int check_existing(const struct lx_job *job, const lx_spec *spec, struct lx_err *err)
{
	lx_autospec lx_spec *stored = NULL;
	int r = lx_spec_load(job, &stored, err);

	if (r == 0)
		r = lx_spec_check_fixed(job, stored, spec, err);
	return r < 0 ? r : lx_disk_size_prepare(job, spec, err);
}

int lx_instance_prepare(const struct lx_job *job, const lx_spec *spec, int *ret_root_fd, struct lx_err *err)
{
	lx_autoclose int userns = -1, root = -1;
	bool exists = lx_spec_exists(job);
	int r = lx_image_check(job, spec->image_fingerprint, err);

	if (r == 0)
		r = exists ? check_existing(job, spec, err) : lx_instance_make_dirs(job, spec, err);
	if (r == 0)
		r = lx_spec_userns(spec, &userns, err);
	if (r == 0)
		r = lx_mounts_private(err);
	if (r == 0)
		r = lx_rootfs_mount(job, spec, userns, &root, err);
	if (r == 0 && !exists)
		r = lx_guest_files_write(spec, root, userns, err);
	if (r == 0)
		r = lx_spec_save(job, spec, err);
	if (r < 0)
		return r;
	*ret_root_fd = lx_move_fd(root);
	return 0;
}

int lx_job_create(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	const lx_spec *spec;
	lx_autoclose int root = -1;
	int r = lx_spec_of_job(job, &spec, err);

	if (r == 0)
		r = lx_instance_prepare(job, spec, &root, err);
	if (r < 0)
		lx_err_wrap(err, "cannot create %s", job->name);
	return r;
}
