/* Mounting and unmounting it; the images lie in a directory below. */
#include "migration/dump_dir.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fs.h"
#include "migration/record.h"

#define IMAGES "images"

void lx_dump_dir_path(const char *run_dir, const char *operation, char out[LX_DUMP_DIR_MAX])
{
	snprintf(out, LX_DUMP_DIR_MAX, "%s/" LX_MOVES_DIR "/%s", run_dir, operation);
}

static bool is_mounted(const char *dir)
{
	char up[LX_DUMP_DIR_MAX + 8];
	struct stat a, b;

	snprintf(up, sizeof(up), "%s/..", dir);
	return stat(dir, &a) == 0 && stat(up, &b) == 0 && a.st_dev != b.st_dev;
}

int lx_dump_dir_make(const char *run_dir, const char *operation, bool keep, struct lx_err *err)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	char dir[LX_DUMP_DIR_MAX], path[LX_DUMP_DIR_MAX + sizeof("/" IMAGES)];

	lx_dump_dir_path(run_dir, operation, dir);
	if (keep && is_mounted(dir))
		return 0;
	lx_dump_dir_remove(run_dir, operation);
	snprintf(path, sizeof(path), "%s/" LX_MOVES_DIR, run_dir);
	int r = lx_mkdir_p(path, 0700, err);

	if (r == 0)
		r = lx_mkdir_p(dir, 0700, err);
	if (r < 0)
		return r;
	/* Memory that cannot be swapped out, where the kernel knows how (6.4). */
	if (mount("lxmgr-move", dir, "tmpfs", flags, "mode=0700,size=100%,noswap") < 0 &&
	    mount("lxmgr-move", dir, "tmpfs", flags, "mode=0700,size=100%") < 0)
		return lx_err_errno(err, errno, "cannot make room in memory for a dump in %s", dir);
	/* The guest's root reads its own images through a descriptor; by path nobody gets here. */
	snprintf(path, sizeof(path), "%s/" IMAGES, dir);
	if (mkdir(path, 0755) < 0)
		return lx_err_errno(err, errno, "cannot make %s", path);
	return 0;
}

bool lx_dump_dir_exists(const char *run_dir, const char *operation)
{
	char dir[LX_DUMP_DIR_MAX];

	lx_dump_dir_path(run_dir, operation, dir);
	return is_mounted(dir);
}

void lx_dump_dir_remove(const char *run_dir, const char *operation)
{
	char dir[LX_DUMP_DIR_MAX];

	lx_dump_dir_path(run_dir, operation, dir);
	while (is_mounted(dir) && umount2(dir, MNT_DETACH) == 0)
		;
	(void)rmdir(dir);
}
