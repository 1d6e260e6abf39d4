/* Headers, pax records and gzip, see the header. */
#include "migration/tar/write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include <zlib.h>

#include "lib/buf.h"
#include "lib/fs.h"
#include "migration/tar/header.h"
#include "migration/tar/pax.h"

#define CHUNK (64u * 1024)
/* A guest stands still meanwhile. Most of an archive of small files is zeros, which any level makes small. */
#define LEVEL Z_BEST_SPEED
/* "+ 16": with gzip's header and checksum. */
#define WINDOW_GZIP (15 + 16)
#define MEMORY      8

struct lx_tarball_writer {
	int fd;
	z_stream z;
	struct lx_buf records, map;
	uint8_t out[CHUNK];
};

static const char zeros[LX_TARBALL_BLOCK];

int lx_tarball_writer_open(int fd, struct lx_tarball_writer **ret, struct lx_err *err)
{
	struct lx_tarball_writer *w = malloc(sizeof(*w));

	*ret = NULL;
	if (!w)
		return lx_err_oom(err);
	w->fd = fd;
	w->z = (z_stream){ .next_out = w->out, .avail_out = CHUNK };
	w->records = w->map = (struct lx_buf){ 0 };
	if (deflateInit2(&w->z, LEVEL, Z_DEFLATED, WINDOW_GZIP, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK) {
		free(w);
		return lx_err_oom(err);
	}
	*ret = w;
	return 0;
}

void lx_tarball_writer_free(struct lx_tarball_writer *w)
{
	if (!w)
		return;
	deflateEnd(&w->z);
	lx_buf_release(&w->records);
	lx_buf_release(&w->map);
	free(w);
}

/* ------------------------------------------------------------------ gzip */

static int flush(struct lx_tarball_writer *w, struct lx_err *err)
{
	ssize_t n = lx_write_full(w->fd, w->out, CHUNK - w->z.avail_out);

	if (n < 0)
		return lx_err_errno(err, (int)n, "cannot write the archive");
	w->z.next_out = w->out;
	w->z.avail_out = CHUNK;
	return 0;
}

int lx_tarball_write_data(struct lx_tarball_writer *w, const void *data, size_t len, struct lx_err *err)
{
	int r = 0;

	w->z.next_in = (Bytef *)(uintptr_t)data;
	w->z.avail_in = (uInt)len;
	while (r == 0 && w->z.avail_in > 0) {
		/* With room for output it fails only when it was called wrongly. */
		if (deflate(&w->z, Z_NO_FLUSH) != Z_OK)
			return lx_err_set(err, LX_INTERNAL, "zlib does not compress the archive");
		if (w->z.avail_out == 0)
			r = flush(w, err);
	}
	return r;
}

int lx_tarball_write_end(struct lx_tarball_writer *w, struct lx_err *err)
{
	int r = lx_tarball_write_data(w, zeros, sizeof(zeros), err), z = Z_OK;

	if (r == 0)
		r = lx_tarball_write_data(w, zeros, sizeof(zeros), err);
	while (r == 0 && z != Z_STREAM_END) {
		z = deflate(&w->z, Z_FINISH);
		if (z != Z_OK && z != Z_STREAM_END)
			return lx_err_set(err, LX_INTERNAL, "zlib does not end the archive");
		r = flush(w, err);
	}
	return r;
}

static int pad(struct lx_tarball_writer *w, uint64_t size, struct lx_err *err)
{
	return lx_tarball_write_data(w, zeros, lx_tarball_padding(size), err);
}

int lx_tarball_write_padding(struct lx_tarball_writer *w, const struct lx_tarball_entry *e,
			     struct lx_err *err)
{
	return pad(w, e->stored, err);
}

/* ------------------------------------------------------------------ headers */

static char type_of(const struct lx_tarball_entry *e)
{
	if (e->is_hard_link)
		return LX_TARBALL_HARD_LINK;
	switch (e->mode & S_IFMT) {
	case S_IFDIR:
		return LX_TARBALL_DIR;
	case S_IFLNK:
		return LX_TARBALL_SYMLINK;
	case S_IFCHR:
		return LX_TARBALL_CHAR;
	case S_IFBLK:
		return LX_TARBALL_BLOCK_DEVICE;
	case S_IFIFO:
		return LX_TARBALL_FIFO;
	default:
		return LX_TARBALL_FILE;
	}
}

/* Cut where it is too long: its record says it whole. */
static void put_text(char *field, size_t n, const char *text)
{
	memcpy(field, text, strnlen(text, n));
}

static void start_header(struct lx_tarball_header *h, char type)
{
	*h = (struct lx_tarball_header){ .type = type };
	memcpy(h->magic, LX_TARBALL_USTAR, sizeof(h->magic));
}

static void put_number(char *field, size_t n, uint64_t value)
{
	lx_tarball_put_number(field, n, lx_tarball_fits(value, n) ? value : 0);
}

/* `size`: what follows it. */
static void fill_header(struct lx_tarball_header *h, const struct lx_tarball_entry *e, uint64_t size)
{
	start_header(h, type_of(e));
	put_text(h->name, sizeof(h->name), e->name);
	if (e->is_hard_link || S_ISLNK(e->mode))
		put_text(h->link, sizeof(h->link), e->link);
	put_number(h->mode, sizeof(h->mode), e->mode & 07777);
	put_number(h->uid, sizeof(h->uid), e->uid);
	put_number(h->gid, sizeof(h->gid), e->gid);
	put_number(h->size, sizeof(h->size), size);
	put_number(h->mtime, sizeof(h->mtime), e->mtime.tv_sec > 0 ? (uint64_t)e->mtime.tv_sec : 0);
	if (S_ISCHR(e->mode) || S_ISBLK(e->mode)) {
		put_number(h->major, sizeof(h->major), major(e->rdev));
		put_number(h->minor, sizeof(h->minor), minor(e->rdev));
	}
	lx_tarball_seal(h);
}

/* ------------------------------------------------------------------ records */

static int put_sparse(struct lx_buf *out, const struct lx_tarball_entry *e)
{
	int r = lx_tarball_pax_put(out, "GNU.sparse.major", "1");

	if (r == 0)
		r = lx_tarball_pax_put(out, "GNU.sparse.minor", "0");
	if (r == 0)
		r = lx_tarball_pax_put(out, "GNU.sparse.name", e->name);
	return r < 0 ? r : lx_tarball_pax_put_number(out, "GNU.sparse.realsize", e->size);
}

static int put_records(struct lx_buf *out, const struct lx_tarball_entry *e, uint64_t size)
{
	static const struct lx_tarball_header h;
	bool has_link = e->is_hard_link || S_ISLNK(e->mode);
	int r = lx_tarball_pax_put_time(out, "atime", e->atime);

	if (r == 0)
		r = lx_tarball_pax_put_time(out, "mtime", e->mtime);
	if (r == 0 && e->is_sparse)
		r = put_sparse(out, e);
	else if (r == 0 && strlen(e->name) > sizeof(h.name))
		r = lx_tarball_pax_put(out, "path", e->name);
	if (r == 0 && has_link && strlen(e->link) > sizeof(h.link))
		r = lx_tarball_pax_put(out, "linkpath", e->link);
	if (r == 0 && !lx_tarball_fits(size, sizeof(h.size)))
		r = lx_tarball_pax_put_number(out, "size", size);
	if (r == 0 && !lx_tarball_fits(e->uid, sizeof(h.uid)))
		r = lx_tarball_pax_put_number(out, "uid", e->uid);
	if (r == 0 && !lx_tarball_fits(e->gid, sizeof(h.gid)))
		r = lx_tarball_pax_put_number(out, "gid", e->gid);
	return r;
}

static int write_records(struct lx_tarball_writer *w, struct lx_err *err)
{
	struct lx_tarball_header h;

	start_header(&h, LX_TARBALL_PAX);
	put_text(h.name, sizeof(h.name), "./PaxHeaders/0");
	put_number(h.mode, sizeof(h.mode), 0600);
	put_number(h.uid, sizeof(h.uid), 0);
	put_number(h.gid, sizeof(h.gid), 0);
	put_number(h.size, sizeof(h.size), w->records.len);
	put_number(h.mtime, sizeof(h.mtime), 0);
	lx_tarball_seal(&h);
	int r = lx_tarball_write_data(w, &h, sizeof(h), err);

	if (r == 0)
		r = lx_tarball_write_data(w, w->records.data, w->records.len, err);
	return r < 0 ? r : pad(w, w->records.len, err);
}

/* ------------------------------------------------------------------ entries */

/* The number of pieces, then where each is and its length, a number a line. */
static int make_map(struct lx_buf *map, const struct lx_tarball_entry *e)
{
	int r = lx_buf_printf(map, "%zu\n", e->n_pieces);

	for (size_t i = 0; i < e->n_pieces && r == 0; i++)
		r = lx_buf_printf(map, "%llu\n%llu\n", (unsigned long long)e->pieces[i].at,
				  (unsigned long long)e->pieces[i].len);
	if (r == 0)
		r = lx_buf_append(map, zeros, lx_tarball_padding(map->len));
	return r;
}

int lx_tarball_write_entry(struct lx_tarball_writer *w, const struct lx_tarball_entry *e, struct lx_err *err)
{
	struct lx_tarball_header h;

	w->records.len = w->map.len = 0;
	if (e->is_sparse && make_map(&w->map, e) < 0)
		return lx_err_oom(err);
	uint64_t size = w->map.len + e->stored;

	if (put_records(&w->records, e, size) < 0)
		return lx_err_oom(err);
	fill_header(&h, e, size);
	int r = write_records(w, err);

	if (r == 0)
		r = lx_tarball_write_data(w, &h, sizeof(h), err);
	return r < 0 ? r : lx_tarball_write_data(w, w->map.data, w->map.len, err);
}
