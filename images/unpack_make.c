/*
 * Making what an archive's entry describes: directories, files with their holes, links,
 * fifos and the few device nodes a container has anyway. Everything is made in a directory
 * that was opened without following links, under a name that was removed before, so nothing
 * planted earlier is written through.
 */
#include "images/unpack_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "images/attrs.h"
#include "lib/cleanup.h"
#include "lib/log.h"

/* A later entry of the same name replaces the earlier one; a directory only when it is empty. */
static int clear_way(struct lx_unpacker *u, int dir, const char *name, const char *path)
{
	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno == EISDIR) {
		lx_jail_forget(&u->link_jail);
		if (unlinkat(dir, name, AT_REMOVEDIR) == 0)
			return 0;
		if (errno == ENOTEMPTY || errno == EEXIST)
			return lx_unpack_refuse(u, path, "it would replace a directory that is not empty");
	}
	return lx_err_errno(u->err, errno, "cannot replace \"%.200s\"", path);
}

static bool all_zero(const char *data, size_t len)
{
	return len > 0 && data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

static int write_at(int fd, const char *data, size_t len, int64_t offset)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

static int fill_file(struct lx_unpacker *u, int fd, int64_t size, const char *path)
{
	const void *data;
	size_t len;
	int64_t offset = 0, end = 0;
	int r;

	while ((r = lx_tar_data(u->tar, &data, &len, &offset, u->err)) > 0) {
		if (offset < end || (uint64_t)offset > u->max_file || len > u->max_file - (uint64_t)offset)
			return lx_unpack_refuse(u, path, "its content is not what its header says");
		u->done->bytes += (uint64_t)(offset - end) + len;
		end = offset + (int64_t)len;
		/* Nothing but zeros: leave a hole. */
		r = all_zero(data, len) ? 0 : write_at(fd, data, len, offset);
		if (r < 0)
			return lx_err_errno(u->err, r, "cannot write \"%.200s\"", path);
		r = lx_unpack_watch_disk(u);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (end < size) {
		u->done->bytes += (uint64_t)(size - end);
		end = size;
	}
	if (ftruncate(fd, end) < 0)
		return lx_err_errno(u->err, errno, "cannot write \"%.200s\"", path);
	return 0;
}

static int finish(struct lx_unpacker *u, struct archive_entry *entry, int dir, const char *name, int fd,
		  const char *path)
{
	int r = lx_attrs_apply(entry, dir, name, fd, path, u->err);

	if (r == 0)
		r = lx_attrs_set_mtime(lx_attrs_mtime(entry), dir, name, fd, path, u->err);
	return r == 0 ? lx_unpack_remember(u, entry, path) : r;
}

static int make_file(struct lx_unpacker *u, struct archive_entry *entry, int dir, const char *name,
		     const char *path)
{
	int64_t size = archive_entry_size(entry);

	if (size < 0 || (uint64_t)size > u->max_file)
		return lx_unpack_refuse(u, path, "the file is too large");
	lx_autoclose int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return lx_err_errno(u->err, errno, "cannot create \"%.200s\"", path);
	int r = fill_file(u, fd, size, path);

	return r < 0 ? r : finish(u, entry, dir, name, fd, path);
}

static int make_symlink(struct lx_unpacker *u, struct archive_entry *entry, int dir, const char *name,
			const char *path)
{
	const char *target = archive_entry_symlink(entry);

	/* Where it points does not matter: nothing here follows it, and in a container it ends there. */
	if (!target || !*target)
		return lx_unpack_refuse(u, path, "the symbolic link points nowhere");
	if (symlinkat(target, dir, name) < 0)
		return lx_err_errno(u->err, errno, "cannot create \"%.200s\"", path);
	return finish(u, entry, dir, name, -1, path);
}

static int make_node(struct lx_unpacker *u, struct archive_entry *entry, int dir, const char *name,
		     const char *path)
{
	mode_t type = archive_entry_filetype(entry);
	dev_t dev = type == AE_IFIFO
			    ? 0
			    : makedev(archive_entry_rdevmajor(entry), archive_entry_rdevminor(entry));

	if (mknodat(dir, name, type | 0600, dev) < 0)
		return lx_err_errno(u->err, errno, "cannot create \"%.200s\"", path);
	return finish(u, entry, dir, name, -1, path);
}

/* Devices every container has anyway. */
static bool harmless_device(struct archive_entry *entry)
{
	static const struct {
		unsigned major, minor;
	} known[] = { { 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 }, { 1, 9 }, { 5, 0 } };

	if (archive_entry_filetype(entry) != AE_IFCHR)
		return false;
	for (size_t i = 0; i < LX_ARRAY_SIZE(known); i++)
		if (archive_entry_rdevmajor(entry) == known[i].major &&
		    archive_entry_rdevminor(entry) == known[i].minor)
			return true;
	return false;
}

static int make_hardlink(struct lx_unpacker *u, const char *target, int dir, const char *name,
			 const char *path)
{
	char clean[LX_ENTRY_PATH_MAX];
	const char *target_name;
	int r = lx_entry_path(target, clean, u->err);

	if (r < 0) {
		lx_err_wrap(u->err, "hard link \"%.200s\"", path);
		return r;
	}
	if (!*clean)
		return lx_unpack_refuse(u, path, "it is a hard link to a directory");
	int target_dir = lx_jail_parent(&u->link_jail, clean, &target_name, u->err);

	if (target_dir < 0)
		return target_dir;
	/* To a symbolic link itself, if that is what it names: no flag to follow. */
	if (linkat(target_dir, target_name, dir, name, 0) == 0)
		return 0;
	if (errno == ENOENT)
		return lx_unpack_refuse(
			u, path, "it is a hard link to something that is not in the archive before it");
	if (errno == EPERM)
		return lx_unpack_refuse(u, path, "it is a hard link to a directory");
	return lx_err_errno(u->err, errno, "cannot link \"%.200s\"", path);
}

int lx_unpack_make(struct lx_unpacker *u, struct archive_entry *entry, const char *path)
{
	const char *link = archive_entry_hardlink(entry), *name;
	mode_t type = archive_entry_filetype(entry);

	if (!link && (type == AE_IFCHR || type == AE_IFBLK) && !harmless_device(entry)) {
		lx_debug("device left out of image", "path=%s", path);
		u->done->skipped_devices++;
		return 0;
	}
	int dir = lx_jail_parent(&u->jail, path, &name, u->err);
	int r = dir < 0 ? dir : clear_way(u, dir, name, path);

	if (r < 0)
		return r;
	if (link)
		return make_hardlink(u, link, dir, name, path);
	switch (type) {
	case AE_IFREG:
		return make_file(u, entry, dir, name, path);
	case AE_IFLNK:
		return make_symlink(u, entry, dir, name, path);
	case AE_IFIFO:
	case AE_IFCHR:
		return make_node(u, entry, dir, name, path);
	default:
		return lx_unpack_refuse(u, path, "it is of a kind that no image has");
	}
}

int lx_unpack_make_dir(struct lx_unpacker *u, struct archive_entry *entry, const char *path)
{
	const char *name;
	int made = 0;

	if (*path) {
		int dir = lx_jail_parent(&u->jail, path, &name, u->err);

		if (dir < 0)
			return dir;
		made = mkdirat(dir, name, 0755);
		struct stat st;

		if (made < 0 && errno == EEXIST && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    !S_ISDIR(st.st_mode)) {
			int r = clear_way(u, dir, name, path);

			if (r < 0)
				return r;
			made = mkdirat(dir, name, 0755);
		}
		if (made < 0 && errno != EEXIST)
			return lx_err_errno(u->err, errno, "cannot create directory \"%.200s\"", path);
	}
	lx_autoclose int fd = lx_jail_open(&u->jail, path, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return lx_err_errno(u->err, fd, "cannot open directory \"%.200s\"", path);
	int r = lx_attrs_apply(entry, -1, NULL, fd, path, u->err);

	return r < 0 ? r : lx_unpack_remember(u, entry, path);
}
