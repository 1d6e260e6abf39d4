/* What an entry is, by its header and what was said before it; only its content is read later. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "migration/tar/read_internal.h"

static int field(const struct lx_tarball_reader *r, const char *text, size_t n, int64_t *ret,
		 struct lx_err *err)
{
	return lx_tarball_number(text, n, ret) < 0 ? lx_tarball_broken(r, "a number in its header", err) : 0;
}

int lx_tarball_size_of(const struct lx_tarball_reader *r, const struct lx_tarball_header *h, uint64_t *ret,
		       struct lx_err *err)
{
	int64_t size;
	int e = field(r, h->size, sizeof(h->size), &size, err);

	if (e == 0 && size < 0)
		e = lx_tarball_broken(r, "its size is negative", err);
	if (e == 0)
		*ret = (uint64_t)size;
	return e;
}

static void names(struct lx_tarball_reader *r, const struct lx_tarball_header *h)
{
	bool has_prefix = memcmp(h->magic, "ustar", sizeof("ustar")) == 0 && h->prefix[0];

	snprintf(r->name, sizeof(r->name), "%.*s%s%.*s", has_prefix ? (int)sizeof(h->prefix) : 0, h->prefix,
		 has_prefix ? "/" : "", (int)sizeof(h->name), h->name);
	snprintf(r->link, sizeof(r->link), "%.*s", (int)sizeof(h->link), h->link);
	r->entry.name = r->long_name.len > 0 ? lx_buf_str(&r->long_name) : r->name;
	r->entry.link = r->long_link.len > 0 ? lx_buf_str(&r->long_link) : r->link;
	if (r->said.path)
		r->entry.name = r->said.path;
	if (r->said.sparse_name)
		r->entry.name = r->said.sparse_name;
	if (r->said.link)
		r->entry.link = r->said.link;
}

static int set_id(const struct lx_tarball_reader *r, const char *text, bool has, uint64_t said, uint32_t *ret,
		  struct lx_err *err)
{
	int64_t value = (int64_t)said;
	int e = has ? 0 : field(r, text, sizeof(((struct lx_tarball_header *)0)->uid), &value, err);

	/* (uid_t)-1 means nobody to the kernel. */
	if (e == 0 && (value < 0 || value >= UINT32_MAX))
		e = lx_tarball_broken(r, "its owner's number is too large", err);
	if (e == 0)
		*ret = (uint32_t)value;
	return e;
}

static int set_times(struct lx_tarball_reader *r, const struct lx_tarball_header *h, struct lx_err *err)
{
	int64_t seconds = 0;
	int e = r->said.has_mtime ? 0 : field(r, h->mtime, sizeof(h->mtime), &seconds, err);

	r->entry.mtime = r->said.has_mtime ? r->said.mtime : (struct timespec){ .tv_sec = seconds };
	r->entry.atime = r->said.has_atime ? r->said.atime : (struct timespec){ .tv_nsec = UTIME_OMIT };
	return e;
}

static int set_device(struct lx_tarball_reader *r, const struct lx_tarball_header *h, struct lx_err *err)
{
	int64_t numbers[2] = { 0 };
	int e = field(r, h->major, sizeof(h->major), &numbers[0], err);

	if (e == 0)
		e = field(r, h->minor, sizeof(h->minor), &numbers[1], err);
	if (e == 0 &&
	    (numbers[0] < 0 || numbers[0] > UINT32_MAX || numbers[1] < 0 || numbers[1] > UINT32_MAX))
		e = lx_tarball_broken(r, "its device number is too large", err);
	r->entry.rdev = makedev((unsigned)numbers[0], (unsigned)numbers[1]);
	return e;
}

/* What it is, by its header. 0: nothing that is known. */
static mode_t kind(const struct lx_tarball_reader *r, const struct lx_tarball_header *h)
{
	size_t len = strlen(r->entry.name);

	switch (h->type) {
	case LX_TARBALL_FILE_V7:
	case LX_TARBALL_FILE:
		/* Very old archives have no other mark of a directory. */
		return len > 0 && r->entry.name[len - 1] == '/' ? S_IFDIR : S_IFREG;
	case LX_TARBALL_CONTIGUOUS:
	case LX_TARBALL_SPARSE:
	case LX_TARBALL_HARD_LINK:
		return S_IFREG;
	case LX_TARBALL_SYMLINK:
		return S_IFLNK;
	case LX_TARBALL_CHAR:
		return S_IFCHR;
	case LX_TARBALL_BLOCK_DEVICE:
		return S_IFBLK;
	case LX_TARBALL_DIR:
	case LX_TARBALL_DUMPDIR:
		return S_IFDIR;
	case LX_TARBALL_FIFO:
		return S_IFIFO;
	default:
		return 0;
	}
}

/* Whatever it is, as many bytes follow it. */
static int set_size(struct lx_tarball_reader *r, const struct lx_tarball_header *h, struct lx_err *err)
{
	uint64_t size = r->said.size;
	int e = r->said.has_size ? 0 : lx_tarball_size_of(r, h, &size, err);

	if (e == 0 && size > INT64_MAX)
		e = lx_tarball_broken(r, "its size is too large", err);
	/* GNU tar looks at no size of theirs. */
	if (e < 0 || r->entry.is_hard_link)
		return e;
	r->data_left = size;
	r->padding = lx_tarball_padding(size);
	if (!S_ISREG(r->entry.mode))
		return 0;
	r->entry.size = r->entry.stored = size;
	return lx_tarball_read_sparse(r, h, err);
}

/* Those of all entries first, so that its own win. */
static int take_records(struct lx_tarball_reader *r, struct lx_buf *own, struct lx_err *err)
{
	if (lx_buf_append(&r->records, r->global.data, r->global.len) < 0 ||
	    lx_buf_append(&r->records, own->data, own->len) < 0)
		return lx_err_oom(err);
	if (r->records.len == 0)
		return 0;
	return lx_tarball_pax_take(&r->said, (char *)r->records.data, r->records.len, &r->entry, err);
}

int lx_tarball_make_entry(struct lx_tarball_reader *r, const struct lx_tarball_header *h, struct lx_buf *own,
			  struct lx_err *err)
{
	int64_t mode = 0;
	int e = take_records(r, own, err);

	if (e < 0)
		return e;
	names(r, h);
	if (!r->entry.name[0])
		return lx_tarball_broken(r, "it has no name", err);
	r->entry.is_hard_link = h->type == LX_TARBALL_HARD_LINK;
	r->entry.mode = kind(r, h);
	if (!r->entry.mode)
		return lx_tarball_broken(r, "what kind of thing it is, is not known", err);
	e = field(r, h->mode, sizeof(h->mode), &mode, err);
	r->entry.mode |= (mode_t)mode & 07777;
	if (e == 0)
		e = set_id(r, h->uid, r->said.has_uid, r->said.uid, &r->entry.uid, err);
	if (e == 0)
		e = set_id(r, h->gid, r->said.has_gid, r->said.gid, &r->entry.gid, err);
	if (e == 0)
		e = set_times(r, h, err);
	/* In others' headers anything may stand there. */
	if (e == 0 && (S_ISCHR(r->entry.mode) || S_ISBLK(r->entry.mode)))
		e = set_device(r, h, err);
	return e == 0 ? set_size(r, h, err) : e;
}
