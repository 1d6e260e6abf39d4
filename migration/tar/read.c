/*
 * Headers and content, see the header.
 *
 * The happy path: headers that say something about the next one are kept; then its own header and what
 * was kept make the entry, of which the content follows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/tar/read_internal.h"

int lx_tarball_broken(const struct lx_tarball_reader *r, const char *what, struct lx_err *err)
{
	if (!r->entry.name)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the archive is broken: %s", what);
	return lx_err_set(err, LX_INVALID_ARGUMENT, "the archive's entry \"%.200s\" is broken: %s",
			  r->entry.name, what);
}

/* ------------------------------------------------------------------ bytes */

/* 1: there are some. 0: none any more. */
static int more(struct lx_tarball_reader *r, struct lx_err *err)
{
	const void *data = NULL;
	const char *why = NULL;

	if (r->left > 0)
		return 1;
	ptrdiff_t n = r->source.next(r->source.arg, &data, &why);

	if (n < 0)
		return why ? lx_tarball_broken(r, why, err)
			   : lx_err_errno(err, errno ? errno : EIO, "cannot read the archive");
	r->at = data;
	r->left = (size_t)n;
	return n > 0;
}

static int cut_off(const struct lx_tarball_reader *r, struct lx_err *err)
{
	(void)lx_tarball_broken(r, "it ends in the middle", err);
	return -EINVAL;
}

/* At most `max`; never none. */
static int take(struct lx_tarball_reader *r, size_t max, const void **ret, size_t *ret_len,
		struct lx_err *err)
{
	int e = more(r, err);

	*ret = NULL;
	*ret_len = 0;
	if (e <= 0)
		return e < 0 ? e : cut_off(r, err);
	*ret = r->at;
	*ret_len = r->left < max ? r->left : max;
	r->at += *ret_len;
	r->left -= *ret_len;
	return 0;
}

int lx_tarball_read(struct lx_tarball_reader *r, void *buf, size_t n, struct lx_err *err)
{
	for (size_t done = 0; done < n;) {
		const void *data;
		size_t len;
		int e = take(r, n - done, &data, &len, err);

		if (e < 0)
			return e;
		memcpy((char *)buf + done, data, len);
		done += len;
	}
	return 0;
}

static int skip(struct lx_tarball_reader *r, uint64_t n, struct lx_err *err)
{
	while (n > 0) {
		const void *data;
		size_t len;
		int e = take(r, n < SIZE_MAX ? (size_t)n : SIZE_MAX, &data, &len, err);

		if (e < 0)
			return e;
		n -= len;
	}
	return 0;
}

int lx_tarball_data(struct lx_tarball_reader *r, size_t max, const void **ret, size_t *ret_len,
		    struct lx_err *err)
{
	*ret_len = 0;
	if (r->data_left == 0 || max == 0)
		return 0;
	int e = take(r, r->data_left < max ? (size_t)r->data_left : max, ret, ret_len, err);

	if (e == 0)
		r->data_left -= *ret_len;
	return e;
}

/* ------------------------------------------------------------------ headers */

static int finish_last(struct lx_tarball_reader *r, struct lx_err *err)
{
	int e = skip(r, r->data_left, err);

	if (e == 0)
		e = skip(r, r->padding, err);
	r->data_left = r->padding = 0;
	r->entry = (struct lx_tarball_entry){ .pieces = r->entry.pieces, .cap_pieces = r->entry.cap_pieces };
	r->long_name.len = r->long_link.len = r->records.len = 0;
	r->said = (struct lx_tarball_pax){ 0 };
	return e;
}

/* What follows the end means nothing, but it is part of what the source's own checksum is of. */
static int end(struct lx_tarball_reader *r, struct lx_err *err)
{
	struct lx_tarball_header second;
	int e = lx_tarball_read(r, &second, sizeof(second), err);

	if (e == 0 && !lx_tarball_is_zero(&second))
		e = lx_tarball_broken(r, "something follows a block of zeros", err);
	for (; e == 0; r->left = 0) {
		e = more(r, err);
		if (e <= 0)
			return e;
		e = 0;
	}
	return e;
}

/* 1: here is one. 0: the end. */
static int next_header(struct lx_tarball_reader *r, struct lx_tarball_header *h, struct lx_err *err)
{
	int e = lx_tarball_read(r, h, sizeof(*h), err);

	if (e < 0)
		return e;
	if (lx_tarball_is_zero(h))
		return end(r, err);
	return lx_tarball_is_header(h) ? 1
				       : lx_tarball_broken(r, "there is no header where one should be", err);
}

/* Appends the content of a header that speaks of others. */
static int keep(struct lx_tarball_reader *r, const struct lx_tarball_header *h, size_t max,
		struct lx_buf *out, struct lx_err *err)
{
	uint64_t size = 0;
	int e = lx_tarball_size_of(r, h, &size, err);

	if (e == 0 && size > max - (out->len < max ? out->len : max))
		e = lx_tarball_broken(r, "what a header says of the next one is too long", err);
	if (e < 0)
		return e;
	if (lx_buf_reserve(out, size + 1) < 0)
		return lx_err_oom(err);
	e = lx_tarball_read(r, out->data + out->len, size, err);
	if (e < 0)
		return e;
	out->len += size;
	out->data[out->len] = '\0';
	return skip(r, lx_tarball_padding(size), err);
}

/* The last one that is there counts. */
static int keep_name(struct lx_tarball_reader *r, const struct lx_tarball_header *h, struct lx_buf *out,
		     struct lx_err *err)
{
	out->len = 0;
	return keep(r, h, LX_TARBALL_NAME_MAX, out, err);
}

/* ------------------------------------------------------------------ all of it */

static int next(struct lx_tarball_reader *r, struct lx_buf *own, struct lx_err *err)
{
	for (;;) {
		struct lx_tarball_header h;
		int e = next_header(r, &h, err);

		if (e <= 0)
			return e;
		switch (h.type) {
		case LX_TARBALL_LONG_NAME:
			e = keep_name(r, &h, &r->long_name, err);
			break;
		case LX_TARBALL_LONG_LINK:
			e = keep_name(r, &h, &r->long_link, err);
			break;
		case LX_TARBALL_PAX:
			e = keep(r, &h, LX_TARBALL_PAX_MAX, own, err);
			break;
		case LX_TARBALL_PAX_GLOBAL:
			e = keep(r, &h, LX_TARBALL_PAX_MAX, &r->global, err);
			break;
		case LX_TARBALL_LABEL:
			break;
		default:
			e = lx_tarball_make_entry(r, &h, own, err);
			return e < 0 ? e : 1;
		}
		if (e < 0)
			return e;
	}
}

int lx_tarball_next(struct lx_tarball_reader *r, const struct lx_tarball_entry **ret, struct lx_err *err)
{
	lx_autobuf struct lx_buf own = { 0 };
	int e = finish_last(r, err);

	*ret = NULL;
	if (e == 0)
		e = next(r, &own, err);
	if (e == 1)
		*ret = &r->entry;
	return e;
}

/* ------------------------------------------------------------------ life */

int lx_tarball_reader_open(const struct lx_tarball_source *source, struct lx_tarball_reader **ret,
			   struct lx_err *err)
{
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return lx_err_oom(err);
	(*ret)->source = *source;
	return 0;
}

void lx_tarball_reader_free(struct lx_tarball_reader *r)
{
	if (!r)
		return;
	free(r->entry.pieces);
	lx_buf_release(&r->long_name);
	lx_buf_release(&r->long_link);
	lx_buf_release(&r->global);
	lx_buf_release(&r->records);
	free(r);
}
