/*
 * The packer: a walk over the tree, an entry for each thing in it.
 *
 * The format is pax with extended attributes as most archivers write them (SCHILY.xattr).
 * The first name of a file carries its content, later ones are hard links. Left out, as
 * no archive can say it or no reader should get it: sockets, times of access, names of
 * owners. Holes are written as zeros (they compress to nothing, and the unpacker makes
 * them holes again), because where holes are is the file system's business.
 *
 * Ways to fail: the reader of the descriptor goes away, a file cannot be read or shrinks
 * meanwhile, cancellation.
 */
#include "images/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <openssl/evp.h>

#include "images/attrs.h"
#include "images/entry_path.h"
#include "images/walk.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/map.h"
#include "lib/str.h"

#define CHUNK (256 * 1024)

/*
 * On the way to another node. Measured with a Debian tree of 150 MiB: level 1 leaves a third of
 * it at 290 MiB/s, where a network of 1 Gbit/s takes 110 MiB/s as they are; level 3 takes three
 * times as long for another eighth. Without compression it is quicker only where the network is
 * faster than that (1.6 s against 2.8 s between two agents on one machine of two CPUs).
 */
#define SEND_LEVEL "1"

struct packer {
	struct archive *tar;
	int fd;                          /* where to write, or -1 */
	const struct lx_pack_sink *sink; /* or to whom */
	struct archive *zstd;            /* with a sink: compresses what was hashed */
	EVP_MD_CTX *hash;                /* what to hash with, or NULL */
	uint64_t done, total;
	const struct lx_progress *progress;
	const char *phase;
	struct lx_map links;  /* "device:inode" -> first path */
	const char *prefix;   /* "rootfs" while below it */
	struct lx_err failed; /* what the writing callback ran into */
	struct lx_err *err;
	char chunk[CHUNK];
};

int lx_compression_parse(const char *name, enum lx_compression *ret, struct lx_err *err)
{
	static const char *const names[] = { "zstd", "gzip", "xz", "none" };

	if (lx_str_empty(name))
		name = names[LX_COMPRESS_ZSTD];
	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++) {
		if (lx_streq(name, names[i])) {
			*ret = (enum lx_compression)i;
			return 0;
		}
	}
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "unknown compression \"%.60s\"", name);

	lx_err_hint(err, "There are zstd, gzip, xz and none.");
	return r;
}

/* ------------------------------------------------------------------ the stream */

static la_ssize_t fail_write(struct packer *p, struct archive *a, int r)
{
	if (p->failed.code == LX_OK)
		lx_err_errno(&p->failed, r, "cannot write the packed image");
	archive_set_error(a, -r, "%s", p->failed.msg);
	return ARCHIVE_FATAL;
}

static la_ssize_t write_out(struct archive *a, void *arg, const void *data, size_t len)
{
	struct packer *p = arg;
	ssize_t n = (ssize_t)len;

	if (p->hash && EVP_DigestUpdate(p->hash, data, len) != 1)
		return fail_write(p, a, -EIO);
	if (p->zstd && archive_write_data(p->zstd, data, len) != (la_ssize_t)len)
		return fail_write(p, a, -EIO);
	if (p->fd >= 0)
		n = lx_write_full(p->fd, data, len);
	return n < 0 ? fail_write(p, a, (int)n) : n;
}

static la_ssize_t write_sink(struct archive *a, void *arg, const void *data, size_t len)
{
	struct packer *p = arg;
	int r = p->sink->write(p->sink->arg, data, len, &p->failed);

	return r < 0 ? fail_write(p, a, r) : (la_ssize_t)len;
}

static int broken(struct packer *p)
{
	const char *why = archive_error_string(p->tar);

	if (p->failed.code != LX_OK) {
		if (p->err)
			*p->err = p->failed;
		return lx_code_errno(p->failed.code);
	}
	if (archive_errno(p->tar) == ENOMEM)
		return lx_err_oom(p->err);
	return lx_err_set(p->err, LX_INTERNAL, "cannot pack the image: %s", why ? why : "no reason known");
}

static int open_stream(struct packer *p, enum lx_compression compression)
{
	struct archive *a = p->tar;
	int r = ARCHIVE_OK;

	archive_write_set_format_pax(a);
	archive_write_set_format_option(a, "pax", "xattrheader", "SCHILY");
	switch (compression) {
	case LX_COMPRESS_ZSTD:
		r = archive_write_add_filter_zstd(a);
		break;
	case LX_COMPRESS_GZIP:
		r = archive_write_add_filter_gzip(a);
		/* No time of packing in the header. */
		archive_write_set_filter_option(a, "gzip", "timestamp", NULL);
		break;
	case LX_COMPRESS_XZ:
		r = archive_write_add_filter_xz(a);
		archive_write_set_filter_option(a, "xz", "threads", "0");
		break;
	case LX_COMPRESS_NONE:
		break;
	}
	archive_write_set_bytes_per_block(a, CHUNK);
	archive_write_set_bytes_in_last_block(a, 1);
	if (r == ARCHIVE_OK)
		r = archive_write_open(a, p, NULL, write_out, NULL);
	return r == ARCHIVE_OK ? 0 : broken(p);
}

/* ------------------------------------------------------------------ entries */

static int pack_content(struct packer *p, int fd, int64_t size, const char *path)
{
	while (size > 0) {
		size_t want = size < CHUNK ? (size_t)size : CHUNK;
		ssize_t n = lx_read_full(fd, p->chunk, want);

		if (n < 0)
			return lx_err_errno(p->err, (int)n, "cannot read \"%.200s\"", path);
		if ((size_t)n < want)
			return lx_err_set(p->err, LX_ABORTED, "\"%.200s\" became shorter while it was packed",
					  path);
		if (archive_write_data(p->tar, p->chunk, want) < 0)
			return broken(p);
		p->done += want;
		int r = lx_progress_report(p->progress, p->phase, p->done, p->total, "bytes", p->err);

		if (r < 0)
			return r;
		size -= n;
	}
	return 0;
}

static int put_header(struct packer *p, struct archive_entry *entry)
{
	int r = archive_write_header(p->tar, entry);

	/* A warning: a name is not UTF-8 and was written as bytes. */
	return r == ARCHIVE_OK || r == ARCHIVE_WARN ? 0 : broken(p);
}

/* Later names of a file that is there already. 1 when that is what it was. */
static int pack_hardlink(struct packer *p, struct archive_entry *entry, const struct stat *st,
			 const char *path)
{
	char key[64];

	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return 0;
	snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st->st_dev,
		 (unsigned long long)st->st_ino);
	const char *first = lx_map_get(&p->links, key);

	if (first) {
		archive_entry_set_hardlink(entry, first);
		archive_entry_unset_size(entry);
		int r = put_header(p, entry);

		return r < 0 ? r : 1;
	}
	char *copy = strdup(path);

	if (!copy || lx_map_set(&p->links, key, copy) < 0) {
		free(copy);
		return lx_err_oom(p->err);
	}
	return 0;
}

static int set_symlink(struct packer *p, struct archive_entry *entry, int dir, const char *name,
		       const char *path)
{
	char target[LX_ENTRY_PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return lx_err_errno(p->err, errno, "cannot read the link \"%.200s\"", path);
	target[n] = '\0';
	archive_entry_set_symlink(entry, target);
	return 0;
}

static void describe(struct archive_entry *entry, const struct stat *st, const char *path)
{
	archive_entry_copy_pathname(entry, path);
	archive_entry_set_mode(entry, st->st_mode);
	archive_entry_set_uid(entry, st->st_uid);
	archive_entry_set_gid(entry, st->st_gid);
	archive_entry_set_mtime(entry, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	archive_entry_set_size(entry, S_ISREG(st->st_mode) ? st->st_size : 0);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		archive_entry_set_rdevmajor(entry, major(st->st_rdev));
		archive_entry_set_rdevminor(entry, minor(st->st_rdev));
	}
}

static int pack_one(struct packer *p, struct archive_entry *entry, int dir, const char *name,
		    const struct stat *st, const char *path)
{
	lx_autoclose int fd = -1;

	describe(entry, st, path);
	int r = pack_hardlink(p, entry, st, path);

	if (r != 0)
		return r < 0 ? r : 0;
	if (S_ISLNK(st->st_mode))
		r = set_symlink(p, entry, dir, name, path);
	if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) {
		fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return lx_err_errno(p->err, errno, "cannot open \"%.200s\"", path);
		r = lx_attrs_collect(fd, S_ISDIR(st->st_mode), entry, path, p->err);
	}
	if (r == 0)
		r = put_header(p, entry);
	if (r == 0 && S_ISREG(st->st_mode))
		r = pack_content(p, fd, st->st_size, path);
	return r;
}

static int pack_entry(struct packer *p, int dir, const char *name, const struct stat *st, const char *path)
{
	if (S_ISSOCK(st->st_mode))
		return 0;
	struct archive_entry *entry = archive_entry_new();

	if (!entry)
		return lx_err_oom(p->err);
	int r = pack_one(p, entry, dir, name, st, path);

	archive_entry_free(entry);
	return r;
}

static int pack_below(void *arg, const struct lx_walk_entry *e, struct lx_err *err)
{
	struct packer *p = arg;
	lx_autofree char *path = lx_path_join(p->prefix, e->path);

	if (!path)
		return lx_err_oom(err);
	return pack_entry(p, e->dir, e->name, e->st, path);
}

/* ------------------------------------------------------------------ the whole */

static int pack_top(struct packer *p, int dir, const char *name, bool optional)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return optional && errno == ENOENT
			       ? 0
			       : lx_err_errno(p->err, errno, "cannot find the image's %s", name);
	int r = pack_entry(p, dir, name, &st, name);

	if (r < 0 || !S_ISDIR(st.st_mode))
		return r;
	lx_autoclose int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return lx_err_errno(p->err, errno, "cannot open the image's %s", name);
	p->prefix = name;
	return lx_walk(fd, pack_below, p, p->err);
}

static int pack_all(struct packer *p, int dir, enum lx_compression compression)
{
	p->tar = archive_write_new();
	if (!p->tar)
		return lx_err_oom(p->err);
	lx_map_init(&p->links, free);
	int r = open_stream(p, compression);

	if (r == 0)
		r = pack_top(p, dir, "metadata.yaml", false);
	if (r == 0)
		r = pack_top(p, dir, "templates", true);
	if (r == 0)
		r = pack_top(p, dir, "rootfs", false);
	/* Freeing would write the end mark too; after a failure there must be none. */
	if (r < 0)
		archive_write_fail(p->tar);
	else if (archive_write_close(p->tar) != ARCHIVE_OK)
		r = broken(p);
	archive_write_free(p->tar);
	lx_map_release(&p->links);
	return r;
}

int lx_pack(int dir, enum lx_compression compression, int fd, uint64_t total,
	    const struct lx_progress *progress, struct lx_err *err)
{
	lx_autofree struct packer *p = calloc(1, sizeof(*p));

	if (!p)
		return lx_err_oom(err);
	p->fd = fd;
	p->phase = "pack";
	p->total = total;
	p->progress = progress;
	p->err = err;
	return pack_all(p, dir, compression);
}

/* The whole with a hash: its hex digits into `ret`. */
static int pack_hashed(struct packer *p, int dir, char ret[LX_FINGERPRINT_LEN + 1])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	p->hash = EVP_MD_CTX_new();
	if (!p->hash || EVP_DigestInit_ex(p->hash, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(p->hash);
		return lx_err_oom(p->err);
	}
	int r = pack_all(p, dir, LX_COMPRESS_NONE);

	if (r == 0 && EVP_DigestFinal_ex(p->hash, digest, &len) != 1)
		r = lx_err_set(p->err, LX_INTERNAL, "cannot compute the image's fingerprint");
	if (r == 0)
		lx_hex(digest, len, ret);
	EVP_MD_CTX_free(p->hash);
	return r;
}

int lx_pack_fingerprint(int dir, const struct lx_progress *progress, char ret[LX_FINGERPRINT_LEN + 1],
			uint64_t *ret_bytes, struct lx_err *err)
{
	lx_autofree struct packer *p = calloc(1, sizeof(*p));

	if (!p)
		return lx_err_oom(err);
	p->fd = -1;
	p->progress = progress;
	p->err = err;
	p->phase = "fingerprint";
	int r = pack_hashed(p, dir, ret);

	*ret_bytes = p->done;
	return r;
}

/* ------------------------------------------------------------------ to another node */

/* The outer archive is no archive: one "raw" entry, so that only its filter is at work. */
static int open_zstd(struct packer *p)
{
	struct archive *a = p->zstd;
	struct archive_entry *whole = archive_entry_new();
	int r = ARCHIVE_FATAL;

	if (!whole)
		return lx_err_oom(p->err);
	archive_entry_set_filetype(whole, AE_IFREG);
	archive_entry_copy_pathname(whole, "image");
	if (archive_write_set_format_raw(a) == ARCHIVE_OK && archive_write_add_filter_zstd(a) == ARCHIVE_OK &&
	    archive_write_set_filter_option(a, "zstd", "compression-level", SEND_LEVEL) == ARCHIVE_OK &&
	    archive_write_set_bytes_per_block(a, CHUNK) == ARCHIVE_OK &&
	    archive_write_set_bytes_in_last_block(a, 1) == ARCHIVE_OK &&
	    archive_write_open(a, p, NULL, write_sink, NULL) == ARCHIVE_OK)
		r = archive_write_header(a, whole);
	archive_entry_free(whole);
	if (r == ARCHIVE_OK)
		return 0;
	const char *why = archive_error_string(a);

	return lx_err_set(p->err, LX_INTERNAL, "cannot compress the image: %s",
			  why ? why : "no reason known");
}

int lx_pack_send(int dir, const struct lx_pack_sink *sink, const struct lx_progress *progress,
		 char ret[LX_FINGERPRINT_LEN + 1], struct lx_err *err)
{
	lx_autofree struct packer *p = calloc(1, sizeof(*p));

	if (!p || !(p->zstd = archive_write_new()))
		return lx_err_oom(err);
	p->fd = -1;
	p->sink = sink;
	p->progress = progress;
	p->err = err;
	p->phase = "send";
	int r = open_zstd(p);

	if (r == 0)
		r = pack_hashed(p, dir, ret);
	if (r < 0)
		archive_write_fail(p->zstd);
	else if (archive_write_close(p->zstd) != ARCHIVE_OK)
		r = broken(p);
	archive_write_free(p->zstd);
	return r;
}
