/*
 * Attributes, see the header. The order of lx_attrs_apply() matters: changing the owner
 * drops setuid bits and capabilities, so the owner comes first; the group bits of a mode
 * are the mask where there is an access list, so that comes last and sets them.
 *
 * Ways to fail: owners out of range, values the kernel refuses, a file system without
 * extended attributes (named in the error: images need one).
 */
#include "images/attrs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "images/acl.h"
#include "images/unpack.h"
#include "lib/cleanup.h"
#include "lib/str.h"

/*
 * What an image may bring. Not trusted.*: the kernel's overlay reads its own marks there.
 * Not security.* but capabilities: labels mean something on one machine only. Not system.*:
 * access lists have a form of their own in archives.
 */
static bool travels(const char *name)
{
	return lx_starts_with(name, "user.") || lx_streq(name, "security.capability");
}

int lx_attrs_check_owner(struct archive_entry *entry, const char *path, struct lx_err *err)
{
	int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);

	if (uid >= 0 && uid <= LX_IMAGE_ID_MAX && gid >= 0 && gid <= LX_IMAGE_ID_MAX)
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT,
			   "\"%.200s\" belongs to uid %lld, gid %lld: a container only has the ids 0 to %d",
			   path, (long long)uid, (long long)gid, LX_IMAGE_ID_MAX);

	lx_err_hint(err, "Give the file to a user of the image and pack it again.");
	return r;
}

/* ------------------------------------------------------------------ onto a file */

static int cannot(const char *what, const char *path, int errnum, struct lx_err *err)
{
	int r = lx_err_errno(err, errnum, "cannot set the %s of \"%.200s\"", what, path);

	if (errnum == EOPNOTSUPP)
		lx_err_hint(err, "Images need a file system with extended attributes and access lists.");
	return r;
}

static int set_xattr(int fd, const char *name, const void *value, size_t len, const char *path,
		     struct lx_err *err)
{
	if (len > LX_UNPACK_MAX_XATTR)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the attribute \"%.100s\" of \"%.200s\" is too large", name, path);
	return fsetxattr(fd, name, value, len, 0) < 0 ? cannot(name, path, errno, err) : 0;
}

static int set_xattrs(struct archive_entry *entry, int fd, const char *path, struct lx_err *err)
{
	const char *name;
	const void *value;
	size_t len;

	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &len) == ARCHIVE_OK) {
		if (!name || !travels(name))
			continue;
		int r = set_xattr(fd, name, value, len, path, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int set_acl(struct archive_entry *entry, int type, const struct lx_ids *ids, const char *xattr, int fd,
		   const char *path, struct lx_err *err)
{
	lx_autobuf struct lx_buf value = { 0 };
	int r = lx_acl_to_xattr(entry, type, ids, &value);

	if (r == -ENOMEM)
		return lx_err_oom(err);
	if (r < 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the access list of \"%.200s\" %s", path,
				  r == -E2BIG ? "is too long" : "names ids that a container does not have");
	return value.len > 0 ? set_xattr(fd, xattr, value.data, value.len, path, err) : 0;
}

int lx_attrs_set_access_acl(struct archive_entry *entry, const struct lx_ids *ids, int fd, const char *path,
			    struct lx_err *err)
{
	return set_acl(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, ids, LX_ACL_ACCESS_XATTR, fd, path, err);
}

int lx_attrs_set_default_acl(struct archive_entry *entry, const struct lx_ids *ids, int fd, const char *path,
			     struct lx_err *err)
{
	return set_acl(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, ids, LX_ACL_DEFAULT_XATTR, fd, path, err);
}

int lx_attrs_apply(struct archive_entry *entry, int dir, const char *name, int fd, const char *path,
		   struct lx_err *err)
{
	uid_t uid = (uid_t)archive_entry_uid(entry);
	gid_t gid = (gid_t)archive_entry_gid(entry);
	mode_t mode = archive_entry_mode(entry) & 07777;

	if (fd < 0) {
		if (fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
			return cannot("owner", path, errno, err);
		/* Just made by us in a directory only we write to: no link can be in its place. */
		if (archive_entry_filetype(entry) != AE_IFLNK && fchmodat(dir, name, mode, 0) < 0)
			return cannot("mode", path, errno, err);
		return 0;
	}
	if (fchown(fd, uid, gid) < 0)
		return cannot("owner", path, errno, err);
	if (fchmod(fd, mode) < 0)
		return cannot("mode", path, errno, err);
	int r = set_xattrs(entry, fd, path, err);

	return r < 0 ? r : lx_attrs_set_access_acl(entry, NULL, fd, path, err);
}

struct timespec lx_attrs_mtime(struct archive_entry *entry)
{
	if (!archive_entry_mtime_is_set(entry))
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	return (struct timespec){ .tv_sec = archive_entry_mtime(entry),
				  .tv_nsec = archive_entry_mtime_nsec(entry) };
}

int lx_attrs_set_mtime(struct timespec mtime, int dir, const char *name, int fd, const char *path,
		       struct lx_err *err)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, mtime };
	int r = fd >= 0 ? futimens(fd, times) : utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW);

	return r < 0 ? cannot("time", path, errno, err) : 0;
}

/* ------------------------------------------------------------------ from a file */

static int collect_one(int fd, const char *name, struct archive_entry *entry, struct lx_err *err)
{
	lx_autofree char *value = malloc(LX_UNPACK_MAX_XATTR);

	if (!value)
		return lx_err_oom(err);
	ssize_t n = fgetxattr(fd, name, value, LX_UNPACK_MAX_XATTR);

	if (n < 0)
		return lx_err_errno(err, errno, "cannot read the attribute \"%.100s\"", name);
	int r = 0;

	if (lx_streq(name, LX_ACL_ACCESS_XATTR))
		r = lx_acl_from_xattr(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, value, (size_t)n);
	else if (lx_streq(name, LX_ACL_DEFAULT_XATTR))
		r = lx_acl_from_xattr(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, value, (size_t)n);
	else
		archive_entry_xattr_add_entry(entry, name, value, (size_t)n);
	return r < 0 ? lx_err_errno(err, r, "cannot read the access list") : 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int lx_attrs_collect(int fd, bool is_dir, struct archive_entry *entry, const char *path, struct lx_err *err)
{
	lx_autofree char *names = NULL;
	lx_autofree const char **sorted = NULL;
	ssize_t len = flistxattr(fd, NULL, 0);
	size_t n = 0;

	if (len == 0 || (len < 0 && errno == EOPNOTSUPP))
		return 0;
	if (len > 0) {
		names = malloc((size_t)len);
		/* A name is at least one character and its NUL. */
		sorted = calloc((size_t)len / 2 + 1, sizeof(*sorted));
		if (!names || !sorted)
			return lx_err_oom(err);
		len = flistxattr(fd, names, (size_t)len);
	}
	if (len < 0)
		return lx_err_errno(err, errno, "cannot list the attributes of \"%.200s\"", path);
	for (const char *name = names; name < names + len; name += strlen(name) + 1)
		if (travels(name) || lx_streq(name, LX_ACL_ACCESS_XATTR) ||
		    (is_dir && lx_streq(name, LX_ACL_DEFAULT_XATTR)))
			sorted[n++] = name;
	/* The same tree gives the same archive, whatever order the file system keeps. */
	if (n > 1)
		qsort(sorted, n, sizeof(*sorted), by_name);
	for (size_t i = 0; i < n; i++) {
		int r = collect_one(fd, sorted[i], entry, err);

		if (r < 0) {
			lx_err_wrap(err, "\"%.200s\"", path);
			return r;
		}
	}
	return 0;
}
