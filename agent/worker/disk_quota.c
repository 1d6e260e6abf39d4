/* Choosing the back end, and what all have in common; see the header. */
#include "agent/worker/disk_quota.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

/* Whatever its size is: fewer would not hold what a guest writes at its first start. */
#define FILES_MIN 4096u

/* Of the file system that the path is on; others than btrfs say for themselves whether they have projects. */
static const struct lx_quota_ops *ops_of(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC ? &lx_quota_btrfs : &lx_quota_project;
}

void lx_quota_probe(const char *path, struct lx_quota_can *ret)
{
	lx_autoclose int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*ret = (struct lx_quota_can){ 0 };
	if (fd < 0)
		snprintf(ret->cause, sizeof(ret->cause), "the directory cannot be opened");
	else
		ops_of(path)->probe(fd, ret);
}

void lx_quota_own_dir(const char *dir, char *out, size_t size)
{
	snprintf(out, size, "%s/disk", dir);
	if (!lx_is_dir(out))
		snprintf(out, size, "%s", dir);
}

int lx_quota_make(const char *dir, struct lx_err *err)
{
	return ops_of(dir)->make(dir, err);
}

int lx_quota_count(const char *dir, uint32_t first, uint32_t n, struct lx_err *err)
{
	return ops_of(dir)->count(dir, first, n, err);
}

int lx_quota_read(const char *dir, struct lx_quota_room *ret)
{
	*ret = (struct lx_quota_room){ 0 };
	return ops_of(dir)->read(dir, ret);
}

uint64_t lx_quota_files(uint64_t bytes, uint64_t all_bytes, uint64_t all_files)
{
	if (bytes == 0 || all_bytes == 0 || all_files == 0)
		return 0;
	if (bytes >= all_bytes)
		return all_files;
	uint64_t files = (uint64_t)((double)bytes / (double)all_bytes * (double)all_files);

	return files < FILES_MIN ? FILES_MIN : files;
}

static int cannot(const char *name, const struct lx_quota_can *can, struct lx_err *err)
{
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "the size of the root disk of %s cannot be bounded on this node: %s", name,
			   can->cause);

	lx_err_hint(err, "%s Or set no size.", can->cure);
	return r;
}

static int not_counted(const struct lx_quota_ops *ops, const char *name, bool stopped, struct lx_err *err)
{
	if (ops->late && stopped)
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "the size of the root disk of %s cannot be bounded yet: quotas were switched on "
			   "after it was %s",
			   name, ops->late ? "started" : "created");

	if (ops->late)
		lx_err_hint(err, "Restart it first: lxmgr restart %s", name);
	else
		lx_err_hint(err,
			    "Move it to another node and back (lxmgr move %s): its files then lie in a "
			    "subvolume.",
			    name);
	return r;
}

int lx_quota_check_bound(const char *dir, const char *name, bool stopped, struct lx_err *err)
{
	struct lx_quota_room room;
	struct lx_quota_can can;

	lx_quota_probe(dir, &can);
	if (!can.bounds)
		return cannot(name, &can, err);
	return lx_quota_read(dir, &room) < 0 ? not_counted(ops_of(dir), name, stopped, err) : 0;
}

int lx_quota_check(const char *dir, const char *name, uint64_t bytes, bool stopped, struct lx_err *err)
{
	char used[LX_SIZE_TEXT_MAX], asked[LX_SIZE_TEXT_MAX];
	struct lx_quota_room room;
	int r = bytes ? lx_quota_check_bound(dir, name, stopped, err) : 0;

	if (r < 0 || bytes == 0)
		return r;
	lx_autoclose int fd = ops_of(dir)->lags ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0)
		(void)syncfs(fd);
	if (lx_quota_read(dir, &room) < 0 || room.used <= bytes)
		return 0;
	r = lx_err_set(
		err, LX_FAILED_PRECONDITION, "%s has %s on its root disk already: a size of %s is less", name,
		lx_format_size(room.used, used, sizeof(used)), lx_format_size(bytes, asked, sizeof(asked)));
	lx_err_hint(err, "Choose a greater size, or remove files in it first.");
	return r;
}

int lx_quota_bound(const char *dir, uint64_t bytes, struct lx_err *err)
{
	struct statfs fs;

	if (statfs(dir, &fs) < 0)
		return lx_err_errno(err, errno, "cannot find out about the file system of %s", dir);
	return ops_of(dir)->bound(
		dir, bytes, lx_quota_files(bytes, (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize, fs.f_files),
		err);
}

void lx_quota_release(const char *dir)
{
	ops_of(dir)->release(dir);
}
