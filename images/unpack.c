/*
 * The unpacker.
 *
 * The happy path: for each entry, clean its name, open its directory without following
 * links (jail.c), make the thing, fill it, give it its attributes (unpack_make.c); when all
 * is there, do what had to wait for that (unpack_last.c).
 *
 * Ways to fail: names that lead outside, links that do, owners a container does not have,
 * any limit of unpack.h, a full disk (noticed before the last byte is gone), whatever
 * tar_read.c runs into. The first failure ends it.
 */
#include "images/unpack_internal.h"

#include <stdbool.h>
#include <string.h>

#include "images/attrs.h"
#include "images/disk.h"
#include "lib/cleanup.h"

/* How many entries or bytes may pass between two looks at the free space. */
#define DISK_CHECK_ENTRIES 256
#define DISK_CHECK_BYTES   (UINT64_C(16) << 20)

int lx_unpack_refuse(struct lx_unpacker *u, const char *path, const char *why)
{
	return lx_err_set(u->err, LX_INVALID_ARGUMENT, "the archive's entry \"%.200s\" is refused: %s", path,
			  why);
}

int lx_unpack_watch_disk(struct lx_unpacker *u)
{
	if (u->done->bytes - u->bytes_at_check < DISK_CHECK_BYTES &&
	    u->done->entries % DISK_CHECK_ENTRIES != 0)
		return 0;
	u->bytes_at_check = u->done->bytes;
	return lx_disk_check(u->jail.root, 0, u->err);
}

static bool wanted(struct lx_unpacker *u, const char *path)
{
	const char *const *only = u->options->only;
	size_t n = strcspn(path, "/");

	if (!only)
		return true;
	for (; *only; only++)
		if (strlen(*only) == n && strncmp(path, *only, n) == 0)
			return true;
	return false;
}

static int unpack_entry(struct lx_unpacker *u, struct archive_entry *entry)
{
	const char *raw = archive_entry_pathname(entry);
	char path[LX_ENTRY_PATH_MAX];

	if (!raw)
		return lx_err_set(u->err, LX_INVALID_ARGUMENT,
				  "the archive has an entry without a usable name");
	if (++u->done->entries > u->max_entries)
		return lx_err_set(u->err, LX_INVALID_ARGUMENT, "the archive has more than %llu entries",
				  (unsigned long long)u->max_entries);
	int r = lx_entry_path(raw, path, u->err);

	if (r < 0 || !wanted(u, path))
		return r;
	if (!archive_entry_hardlink(entry)) {
		r = lx_attrs_check_owner(entry, path, u->err);
		if (r < 0)
			return r;
		if (archive_entry_filetype(entry) == AE_IFDIR)
			r = lx_unpack_make_dir(u, entry, path);
		else if (!*path)
			r = lx_unpack_refuse(u, ".", "the top must be a directory");
		else
			r = lx_unpack_make(u, entry, path);
	} else {
		r = *path ? lx_unpack_make(u, entry, path)
			  : lx_unpack_refuse(u, ".", "the top must be a directory");
	}
	return r < 0 ? r : lx_unpack_watch_disk(u);
}

static int unpack_all(struct lx_unpacker *u)
{
	struct archive_entry *entry;
	int r;

	while ((r = lx_tar_next(u->tar, &entry, u->err)) > 0) {
		r = unpack_entry(u, entry);
		if (r < 0)
			return r;
		if (u->options->entry_done)
			u->options->entry_done(u->options->arg, u->done->entries);
	}
	return r < 0 ? r : lx_unpack_last(u);
}

int lx_unpack(struct lx_tar *tar, int dirfd, const struct lx_unpack_options *options, struct lx_unpacked *ret,
	      struct lx_err *err)
{
	struct lx_unpacker u = {
		.tar = tar,
		.options = options,
		.max_entries = options->max_entries ? options->max_entries : LX_UNPACK_MAX_ENTRIES,
		.max_file = options->max_file ? options->max_file : LX_UNPACK_MAX_FILE,
		.done = ret,
		.err = err,
	};

	lx_jail_init(&u.jail, dirfd);
	lx_jail_init(&u.link_jail, dirfd);
	int r = unpack_all(&u);

	lx_unpack_forget(&u);
	lx_jail_release(&u.jail);
	lx_jail_release(&u.link_jail);
	return r;
}
