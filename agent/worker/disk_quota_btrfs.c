/*
 * btrfs: the qgroup that every subvolume has of its own. What it holds is read from /sys, as the file
 * system has it in memory: it is brought up to date with each of its transactions (30 s at most).
 *
 * A subvolume has inode numbers of its own, and overlayfs shows them beside those of the image as if they
 * were of one file system. So one is made only where quotas are switched on.
 */
#include "agent/worker/disk_quota.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"

#define SUBVOLUME "disk"
#define RECORD    "qgroup"
#define NUMBER    32

static int open_dir(const char *dir, const char *leaf)
{
	char path[LX_QUOTA_PATH_MAX];

	snprintf(path, sizeof(path), "%s%s%s", dir, *leaf ? "/" : "", leaf);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* ------------------------------------------------------------------ what the kernel says */

/* A file of /sys/fs/btrfs/<the file system>/qgroups. */
static int read_word(int fd, const char *leaf, char out[NUMBER])
{
	struct btrfs_ioctl_fs_info_args info = { 0 };
	char path[160], hex[2 * BTRFS_FSID_SIZE + 5];
	size_t at = 0;

	if (ioctl(fd, BTRFS_IOC_FS_INFO, &info) < 0)
		return -errno;
	for (size_t i = 0; i < BTRFS_FSID_SIZE; i++)
		at += (size_t)snprintf(hex + at, sizeof(hex) - at, "%s%02x",
				       i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", info.fsid[i]);
	snprintf(path, sizeof(path), "/sys/fs/btrfs/%s/qgroups/%s", hex, leaf);
	return lx_read_line(path, out, NUMBER);
}

static int read_of(int fd, uint64_t qgroup, const char *leaf, uint64_t *ret)
{
	char path[64], text[NUMBER];

	snprintf(path, sizeof(path), "0_%" PRIu64 "/%s", qgroup, leaf);
	int r = read_word(fd, path, text);

	if (r == 0)
		*ret = strtoull(text, NULL, 10);
	return r;
}

/* The account of the topmost subvolume is there as long as there are any. */
static bool is_on(int fd)
{
	uint64_t used;

	return read_of(fd, BTRFS_FS_TREE_OBJECTID, "referenced", &used) == 0;
}

static void btrfs_probe(int fd, struct lx_quota_can *ret)
{
	ret->counts = ret->bounds = is_on(fd);
	if (ret->bounds)
		return;
	snprintf(ret->cause, sizeof(ret->cause), "btrfs has no quotas switched on");
	snprintf(ret->cure, sizeof(ret->cure), "Switch them on: btrfs quota enable MOUNTPOINT");
}

/* The number of the subvolume that the instance's own files are in, which is its qgroup's; 0: of none. */
static uint64_t subvolume_of(int disk)
{
	struct btrfs_ioctl_ino_lookup_args args = { .objectid = BTRFS_FIRST_FREE_OBJECTID };
	struct stat st;

	if (fstat(disk, &st) < 0 || st.st_ino != BTRFS_FIRST_FREE_OBJECTID ||
	    ioctl(disk, BTRFS_IOC_INO_LOOKUP, &args) < 0)
		return 0;
	return args.treeid;
}

/* ------------------------------------------------------------------ making and removing */

static int make_subvolume(const char *dir, int fd, struct lx_err *err)
{
	struct btrfs_ioctl_vol_args args = { .name = SUBVOLUME };
	char path[LX_QUOTA_PATH_MAX], text[NUMBER];

	if (ioctl(fd, BTRFS_IOC_SUBVOL_CREATE, &args) < 0)
		return lx_err_errno(err, errno, "cannot make the subvolume %s/" SUBVOLUME, dir);
	lx_autoclose int disk = open_dir(dir, SUBVOLUME);

	if (disk < 0 || fchmod(disk, 0700) < 0)
		return lx_err_errno(err, disk < 0 ? disk : errno, "cannot open %s/" SUBVOLUME, dir);
	snprintf(path, sizeof(path), "%s/" RECORD, dir);
	snprintf(text, sizeof(text), "%" PRIu64 "\n", subvolume_of(disk));
	return lx_write_file_volatile(path, text, strlen(text), 0600, err);
}

static int btrfs_make(const char *dir, struct lx_err *err)
{
	lx_autoclose int fd = open_dir(dir, "");

	if (fd < 0)
		return lx_err_errno(err, fd, "cannot open %s", dir);
	return is_on(fd) ? make_subvolume(dir, fd, err) : 0;
}

/* While its subvolume is on its way out it cannot be removed: newer kernels then do so themselves. */
static void remove_qgroup(int fd, uint64_t qgroup)
{
	struct btrfs_ioctl_qgroup_create_args args = { .create = 0, .qgroupid = qgroup };

	(void)ioctl(fd, BTRFS_IOC_QGROUP_CREATE, &args);
}

static void btrfs_release(const char *dir)
{
	char path[LX_QUOTA_PATH_MAX], text[NUMBER];
	lx_autoclose int fd = open_dir(dir, ""), disk = open_dir(dir, SUBVOLUME);
	uint64_t qgroup = disk < 0 ? 0 : subvolume_of(disk);

	snprintf(path, sizeof(path), "%s/" RECORD, dir);
	if (qgroup == 0 && lx_read_line(path, text, sizeof(text)) == 0)
		qgroup = strtoull(text, NULL, 10);
	/* What cannot be removed now stays with its record, for the next sweep. */
	snprintf(path, sizeof(path), "%s/" SUBVOLUME, dir);
	if (fd >= 0 && qgroup && lx_rm_rf(path, NULL) == 0)
		remove_qgroup(fd, qgroup);
}

/* ------------------------------------------------------------------ the account */

/* The descriptor of the subvolume; negative: there is none, or nothing counts it. */
static int open_counted(const char *dir, uint64_t *ret_qgroup, uint64_t *ret_used)
{
	lx_autoclose int disk = open_dir(dir, SUBVOLUME);

	*ret_qgroup = disk < 0 ? 0 : subvolume_of(disk);
	if (*ret_qgroup == 0 || read_of(disk, *ret_qgroup, "referenced", ret_used) < 0)
		return -ENODATA;
	return lx_move_fd(disk);
}

static int btrfs_count(const char *dir, uint32_t first, uint32_t n, struct lx_err *err)
{
	uint64_t qgroup, used;
	lx_autoclose int disk = open_counted(dir, &qgroup, &used);

	return disk < 0 ? disk : 1;
}

static int btrfs_read(const char *dir, struct lx_quota_room *ret)
{
	uint64_t qgroup, flags = 0, limit = 0;
	lx_autoclose int disk = open_counted(dir, &qgroup, &ret->used);

	if (disk < 0)
		return disk;
	(void)read_of(disk, qgroup, "limit_flags", &flags);
	(void)read_of(disk, qgroup, "max_referenced", &limit);
	ret->limit = flags & BTRFS_QGROUP_LIMIT_MAX_RFER ? limit : 0;
	return 0;
}

/*
 * Files are not bounded by themselves: what is kept of them counts as bytes. Asked for outside of the
 * subvolume: in it the call itself would take room, which one that is full has not.
 */
static int btrfs_bound(const char *dir, uint64_t bytes, uint64_t files, struct lx_err *err)
{
	uint64_t qgroup, used;
	lx_autoclose int disk = open_counted(dir, &qgroup, &used), outside = open_dir(dir, "");
	struct btrfs_ioctl_qgroup_limit_args args = {
		.qgroupid = qgroup,
		/* All ones takes it off. */
		.lim = { .flags = BTRFS_QGROUP_LIMIT_MAX_RFER, .max_rfer = bytes ? bytes : UINT64_MAX },
	};
	int r = disk < 0 ? disk : outside < 0 ? outside : 0;

	if (r == 0 && ioctl(outside, BTRFS_IOC_QGROUP_LIMIT, &args) < 0)
		r = -errno;
	return r < 0 ? lx_err_errno(err, r, "cannot bound qgroup 0/%" PRIu64 " of %s", qgroup, dir) : 0;
}

const struct lx_quota_ops lx_quota_btrfs = {
	.lags = true,
	.probe = btrfs_probe,
	.make = btrfs_make,
	.count = btrfs_count,
	.read = btrfs_read,
	.bound = btrfs_bound,
	.release = btrfs_release,
};
