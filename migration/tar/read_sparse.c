/*
 * Where the pieces of a sparse file are: in its header and blocks behind it (GNU's own format), in pax
 * records (versions 0.0 and 0.1, taken in pax.c), or in front of its content (version 1.0).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/tar/read_internal.h"

static int add(struct lx_tarball_reader *r, uint64_t at, uint64_t len, struct lx_err *err)
{
	if (r->entry.n_pieces == LX_TARBALL_PIECES_MAX)
		return lx_tarball_broken(r, "it has too many holes", err);
	return lx_tarball_add_piece(&r->entry, at, len) < 0 ? lx_err_oom(err) : 0;
}

/* ------------------------------------------------------------------ GNU's own */

#define FIELD sizeof(((struct lx_tarball_more_pieces *)0)->pieces[0][0])

/* An empty field ends them. */
static int add_fields(struct lx_tarball_reader *r, const char (*pieces)[2][FIELD], size_t n,
		      struct lx_err *err)
{
	int e = 0;

	for (size_t i = 0; i < n && pieces[i][1][0] && e == 0; i++) {
		int64_t at, len;

		if (lx_tarball_number(pieces[i][0], FIELD, &at) < 0 ||
		    lx_tarball_number(pieces[i][1], FIELD, &len) < 0 || at < 0 || len < 0)
			return lx_tarball_broken(r, "a number in the map of its holes", err);
		e = add(r, (uint64_t)at, (uint64_t)len, err);
	}
	return e;
}

static int read_fields(struct lx_tarball_reader *r, const struct lx_tarball_header *h, struct lx_err *err)
{
	struct lx_tarball_more_pieces more = { .extended = h->sparse.extended };
	int64_t size;

	if (lx_tarball_number(h->sparse.size, sizeof(h->sparse.size), &size) < 0 || size < 0)
		return lx_tarball_broken(r, "its size with its holes", err);
	r->entry.size = (uint64_t)size;
	int e = add_fields(r, h->sparse.pieces, 4, err);

	while (e == 0 && more.extended) {
		e = lx_tarball_read(r, &more, sizeof(more), err);
		if (e == 0)
			e = add_fields(r, more.pieces, 21, err);
	}
	return e;
}

/* ------------------------------------------------------------------ pax, version 1.0 */

/* Decimal numbers, each on a line, in whole blocks. */
struct lines {
	struct lx_tarball_reader *r;
	char block[LX_TARBALL_BLOCK];
	size_t at;
};

static int next_char(struct lines *l, struct lx_err *err)
{
	if (l->at == sizeof(l->block)) {
		if (l->r->data_left < sizeof(l->block))
			return lx_tarball_broken(l->r, "the map of its holes is cut off", err);
		int e = lx_tarball_read(l->r, l->block, sizeof(l->block), err);

		if (e < 0)
			return e;
		l->r->data_left -= sizeof(l->block);
		l->at = 0;
	}
	return (unsigned char)l->block[l->at++];
}

static int next_number(struct lines *l, uint64_t *ret, struct lx_err *err)
{
	uint64_t value = 0;

	for (bool any = false;; any = true) {
		int c = next_char(l, err);

		if (c < 0)
			return c;
		if (any && c == '\n')
			break;
		if (c < '0' || c > '9' || value > INT64_MAX / 10 - 1)
			return lx_tarball_broken(l->r, "a number in the map of its holes", err);
		value = value * 10 + (uint64_t)(c - '0');
	}
	*ret = value;
	return 0;
}

static int read_lines(struct lx_tarball_reader *r, struct lx_err *err)
{
	struct lines l = { .r = r, .at = sizeof(l.block) };
	uint64_t n = 0, at = 0, len = 0;
	int e = next_number(&l, &n, err);

	r->entry.n_pieces = 0;
	for (; e == 0 && n > 0; n--) {
		e = next_number(&l, &at, err);
		if (e == 0)
			e = next_number(&l, &len, err);
		if (e == 0)
			e = add(r, at, len, err);
	}
	r->entry.stored = r->data_left;
	return e;
}

/* ------------------------------------------------------------------ all of them */

static int check(const struct lx_tarball_reader *r, struct lx_err *err)
{
	const struct lx_tarball_entry *e = &r->entry;
	uint64_t end = 0, sum = 0;

	for (size_t i = 0; i < e->n_pieces; i++) {
		const struct lx_tarball_piece *p = &e->pieces[i];

		if (p->at < end || p->at > e->size || p->len > e->size - p->at)
			return lx_tarball_broken(r, "the map of its holes does not fit its size", err);
		end = p->at + p->len;
		sum += p->len;
	}
	if (e->size > INT64_MAX || sum != e->stored)
		return lx_tarball_broken(r, "the map of its holes does not fit its content", err);
	return 0;
}

int lx_tarball_read_sparse(struct lx_tarball_reader *r, const struct lx_tarball_header *h, struct lx_err *err)
{
	int e = 0;

	r->entry.is_sparse = h->type == LX_TARBALL_SPARSE || r->said.has_real_size;
	if (!r->entry.is_sparse)
		return 0;
	if (r->said.has_real_size)
		r->entry.size = r->said.real_size;
	if (h->type == LX_TARBALL_SPARSE && !r->said.has_real_size)
		e = read_fields(r, h, err);
	else if (r->said.sparse_major == 1)
		e = read_lines(r, err);
	else if (r->said.sparse_major > 1)
		e = lx_tarball_broken(r, "its holes are told of in a way that is not known", err);
	return e < 0 ? e : check(r, err);
}
