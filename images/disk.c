/* Looking before leaping: is there room for an image? */
#include "images/disk.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/statvfs.h>

#include "lib/str.h"

int lx_disk_check(int dirfd, uint64_t bytes, struct lx_err *err)
{
	struct statvfs fs;

	if (fstatvfs(dirfd, &fs) < 0)
		return lx_err_errno(err, errno, "cannot find out how much space is free");
	uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;

	/* File systems without a fixed number of inodes say 0. */
	bool inodes = fs.f_files == 0 || fs.f_favail >= LX_DISK_INODE_RESERVE;

	if (inodes && available >= LX_DISK_RESERVE && available - LX_DISK_RESERVE >= bytes)
		return 0;
	char have[LX_SIZE_TEXT_MAX], want[LX_SIZE_TEXT_MAX];
	int r = lx_err_set(
		err, LX_RESOURCE_EXHAUSTED,
		"not enough space for the image: %s and %llu inodes are free, at least %s and %d are needed",
		lx_format_size(available, have, sizeof(have)), (unsigned long long)fs.f_favail,
		lx_format_size(bytes + LX_DISK_RESERVE, want, sizeof(want)), LX_DISK_INODE_RESERVE);

	lx_err_hint(err, "Free some space on the node's disk, for example by deleting images: lxmgr image "
			 "delete NAME");
	return r;
}
