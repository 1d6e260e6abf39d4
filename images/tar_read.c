/*
 * Two libarchive readers in a row. The first only decompresses ("raw"; gzip is left to
 * gunzip.c), the second reads tar from what the first gives. One alone would do for the
 * happy path, but it would stop at tar's end mark and never see that the compressed stream
 * is cut off behind it, and it would pass over skipped entries without telling how much
 * came out.
 *
 * Ways to fail: bytes that are no tar archive; a stream that ends early or fails its
 * checksum; more output than allowed, in all or for the input it took; a read error;
 * cancellation. What a callback finds is kept in `failed`, because libarchive only carries
 * a string.
 */
#include "images/tar_read.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "images/gunzip.h"
#include "lib/cleanup.h"
#include "lib/str.h"

#define CHUNK (256 * 1024)

struct lx_tar {
	struct lx_tar_source source;
	struct lx_gunzip *gzip; /* one of the two decompresses */
	struct archive *packed;
	struct archive *tar;
	uint64_t in, out;     /* bytes read, bytes decompressed */
	struct lx_err failed; /* what a callback ran into */
	size_t first;         /* bytes in `chunk` that were only looked at so far */
	uint8_t chunk[CHUNK];
};

/* ------------------------------------------------------------------ decompressing */

/* The next bytes of the file into `chunk`: how many, 0 at the end, -1 with `failed` set. */
static ssize_t read_file(struct lx_tar *t)
{
	for (;;) {
		if (lx_progress_report(t->source.progress, "unpack", t->in, t->source.size, "bytes",
				       &t->failed) < 0)
			return -1;
		ssize_t n = t->source.read
				    ? t->source.read(t->source.arg, t->chunk, sizeof(t->chunk), &t->failed)
				    : read(t->source.fd, t->chunk, sizeof(t->chunk));

		if (n < 0 && t->source.read)
			return -1;
		if (n >= 0) {
			t->in += (uint64_t)n;
			return n;
		}
		/* A signal may be the one that asks us to stop: look at the top. */
		if (errno != EINTR) {
			lx_err_errno(&t->failed, errno, "cannot read %s", t->source.name);
			return -1;
		}
	}
}

static ptrdiff_t next_chunk(void *arg, const void **ret)
{
	struct lx_tar *t = arg;
	size_t first = t->first;

	*ret = t->chunk;
	t->first = 0;
	return first > 0 ? (ptrdiff_t)first : read_file(t);
}

static la_ssize_t read_packed(struct archive *a, void *arg, const void **ret)
{
	struct lx_tar *t = arg;
	ptrdiff_t n = next_chunk(t, ret);

	if (n < 0) {
		archive_set_error(a, EIO, "%s", t->failed.msg);
		return ARCHIVE_FATAL;
	}
	return n;
}

static int check_volume(struct lx_tar *t)
{
	uint64_t max = t->source.max_bytes ? t->source.max_bytes : LX_TAR_MAX_BYTES;
	uint64_t ratio = t->source.max_ratio ? t->source.max_ratio : LX_TAR_MAX_RATIO;
	char text[LX_SIZE_TEXT_MAX];

	if (t->out > max)
		return lx_err_set(&t->failed, LX_INVALID_ARGUMENT, "%s is larger than %s when unpacked",
				  t->source.name, lx_format_size(max, text, sizeof(text)));
	if (t->out > LX_TAR_RATIO_FLOOR && t->out / ratio > t->in)
		return lx_err_set(
			&t->failed, LX_INVALID_ARGUMENT,
			"%s unpacks to more than %llu times its size: it is refused as a decompression bomb",
			t->source.name, (unsigned long long)ratio);
	return 0;
}

static int damaged(struct lx_tar *t, const char *why, struct lx_err *err)
{
	return lx_err_set(err, LX_INVALID_ARGUMENT, "%s is damaged or no tar archive: %s", t->source.name,
			  why);
}

/* Says in our words why the archive cannot be read on. */
static int broken(struct lx_tar *t, struct archive *a, struct lx_err *err)
{
	const char *why = archive_error_string(a);

	if (t->failed.code != LX_OK) {
		if (err)
			*err = t->failed;
		return lx_code_errno(t->failed.code);
	}
	if (archive_errno(a) == ENOMEM)
		return lx_err_oom(err);
	return damaged(t, why ? why : "no reason known", err);
}

/* The next decompressed bytes: how many, 0 at the end, -1 with `failed` set. */
static ssize_t next_unpacked(struct lx_tar *t, const void **ret)
{
	const char *why = NULL;
	la_int64_t offset;
	size_t len = 0;
	ptrdiff_t n;

	if (t->gzip) {
		n = lx_gunzip_next(t->gzip, ret, &why);
		if (n < 0 && why)
			damaged(t, why, &t->failed);
	} else {
		int r = archive_read_data_block(t->packed, ret, &len, &offset);

		n = r == ARCHIVE_OK ? (ptrdiff_t)len : r == ARCHIVE_EOF ? 0 : -1;
		if (n < 0)
			broken(t, t->packed, &t->failed);
	}
	if (n < 0)
		return -1;
	t->out += (uint64_t)n;
	return check_volume(t) < 0 ? -1 : n;
}

static la_ssize_t read_tar(struct archive *a, void *arg, const void **ret)
{
	struct lx_tar *t = arg;
	ssize_t n = next_unpacked(t, ret);

	if (n < 0) {
		archive_set_error(a, EIO, "%s", t->failed.msg);
		return ARCHIVE_FATAL;
	}
	return n;
}

/* ------------------------------------------------------------------ opening */

static int open_packed(struct lx_tar *t, struct lx_err *err)
{
	struct archive *a = t->packed;
	struct archive_entry *whole;
	ssize_t n = read_file(t);

	if (n < 0)
		return broken(t, a, err);
	if (n == 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s is empty", t->source.name);
	t->first = (size_t)n;
	if (lx_gunzip_is(t->chunk, t->first)) {
		t->gzip = lx_gunzip_new(next_chunk, t);
		return t->gzip ? 0 : lx_err_oom(err);
	}
	/* Named one by one: "all" would bring filters that run programs. */
	archive_read_support_filter_none(a);
	archive_read_support_filter_bzip2(a);
	archive_read_support_filter_xz(a);
	archive_read_support_filter_zstd(a);
	archive_read_support_format_raw(a);
	if (archive_read_open(a, t, NULL, read_packed, NULL) != ARCHIVE_OK)
		return broken(t, a, err);
	return archive_read_next_header(a, &whole) == ARCHIVE_OK ? 0 : broken(t, a, err);
}

static int open_tar(struct lx_tar *t, struct lx_err *err)
{
	struct archive *a = t->tar;

	archive_read_support_format_tar(a);
	if (archive_read_open(a, t, NULL, read_tar, NULL) != ARCHIVE_OK)
		return broken(t, a, err);
	return 0;
}

int lx_tar_open(const struct lx_tar_source *source, struct lx_tar **ret, struct lx_err *err)
{
	lx_autotar struct lx_tar *t = calloc(1, sizeof(*t));

	if (!t)
		return lx_err_oom(err);
	t->source = *source;
	t->packed = archive_read_new();
	t->tar = archive_read_new();
	if (!t->packed || !t->tar)
		return lx_err_oom(err);
	int r = open_packed(t, err);

	if (r == 0)
		r = open_tar(t, err);
	if (r < 0)
		return r;
	*ret = lx_move_ptr(t);
	return 0;
}

void lx_tar_close(struct lx_tar *t)
{
	if (!t)
		return;
	/* The outer one first: it reads from the other. */
	archive_read_free(t->tar);
	archive_read_free(t->packed);
	lx_gunzip_free(t->gzip);
	free(t);
}

/* ------------------------------------------------------------------ reading */

/* The end mark is two blocks of zeros; without one the archive just stops. */
static int check_end(struct lx_tar *t, struct lx_err *err)
{
	const void *rest;
	ssize_t n;

	if (archive_filter_bytes(t->tar, 0) <= archive_read_header_position(t->tar))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s is cut off: it has no end mark",
				  t->source.name);
	/* Padding, and then what the compressor says at its end. */
	do
		n = next_unpacked(t, &rest);
	while (n > 0);
	return n < 0 ? broken(t, t->tar, err) : 0;
}

int lx_tar_next(struct lx_tar *t, struct archive_entry **ret, struct lx_err *err)
{
	int r = archive_read_next_header(t->tar, ret);

	if (r == ARCHIVE_EOF)
		return check_end(t, err);
	/* A warning is about an attribute that could not be understood; the entry itself is whole. */
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
		return broken(t, t->tar, err);
	return 1;
}

int lx_tar_data(struct lx_tar *t, const void **data, size_t *len, int64_t *offset, struct lx_err *err)
{
	la_int64_t at = 0;
	int r = archive_read_data_block(t->tar, data, len, &at);

	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
		return broken(t, t->tar, err);
	*offset = at;
	return 1;
}
