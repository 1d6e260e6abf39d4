/*
 * Writing the content of a file, and keeping the hashes of its blocks as the sender does.
 *
 * A frame brings whole blocks (the last of a file may be cut short by its end) behind those
 * that came before. Pages of zeros are not written: in a new file they are holes already, in
 * one that was there they are made some.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "migration/tree_receive.h"
#include "proto/pb.h"

void lx_tree_receive_drop(struct lx_tree_incoming *file)
{
	if (file->fd >= 0)
		close(file->fd);
	lx_pb_free(file->entry);
	lx_tree_blocks_release(&file->now);
	*file = (struct lx_tree_incoming){ .fd = -1 };
}

/* ------------------------------------------------------------------ bytes */

static int write_at(int fd, const uint8_t *data, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int make_hole(int fd, uint64_t offset, uint64_t len)
{
	static const uint8_t zeros[LX_TREE_BLOCK];

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	for (uint64_t at = 0; at < len; at += sizeof(zeros)) {
		uint64_t n = len - at < sizeof(zeros) ? len - at : sizeof(zeros);
		int e = write_at(fd, zeros, (size_t)n, offset + at);

		if (e < 0)
			return e;
	}
	return 0;
}

static size_t page_len(size_t at, size_t len)
{
	return len - at < LX_TREE_PAGE ? len - at : LX_TREE_PAGE;
}

/* `in_place`: there may be something else. */
static int write_pages(int fd, const uint8_t *data, size_t len, uint64_t offset, bool in_place)
{
	int e = 0;

	for (size_t at = 0, end; at < len && e == 0; at = end) {
		bool zero = lx_tree_is_zero(data + at, page_len(at, len));

		end = at + page_len(at, len);
		while (end < len && lx_tree_is_zero(data + end, page_len(end, len)) == zero)
			end += page_len(end, len);
		if (!zero)
			e = write_at(fd, data + at, end - at, offset + at);
		else if (in_place)
			e = make_hole(fd, offset + at, end - at);
	}
	return e;
}

/* ------------------------------------------------------------------ hashes */

/* Blocks of before that lie before `index` are as they were. */
static int keep_old(struct lx_tree_receiver *r, uint64_t index)
{
	struct lx_tree_incoming *f = &r->file;
	struct lx_tree_block one;
	size_t n;
	const struct lx_tree_block *old = lx_tree_map_blocks(lx_tree_map_node(&r->map, f->id), &one, &n);

	for (; f->at_old < n && old[f->at_old].index < index; f->at_old++)
		if (lx_tree_blocks_add(&f->now, old[f->at_old].index, old[f->at_old].hash) < 0)
			return -ENOMEM;
	return 0;
}

/* And that one is not. */
static int replace_old(struct lx_tree_receiver *r, uint64_t index)
{
	struct lx_tree_incoming *f = &r->file;
	struct lx_tree_block one;
	size_t n;
	int e = keep_old(r, index);
	const struct lx_tree_block *old = lx_tree_map_blocks(lx_tree_map_node(&r->map, f->id), &one, &n);

	if (f->at_old < n && old[f->at_old].index == index)
		f->at_old++;
	return e;
}

static int hash_blocks(struct lx_tree_receiver *r, const Lxmgr__V1__TreeData *d)
{
	uint64_t index = d->offset / LX_TREE_BLOCK;
	int e = 0;

	for (size_t at = 0; at < d->data.len && e == 0; at += LX_TREE_BLOCK, index++) {
		const uint8_t *block = d->data.data + at;
		size_t len = d->data.len - at;

		if (len < LX_TREE_BLOCK) {
			memcpy(r->block, block, len);
			memset(r->block + len, 0, LX_TREE_BLOCK - len);
			block = r->block;
		}
		e = replace_old(r, index);
		if (e == 0 && !lx_tree_is_zero(block, LX_TREE_BLOCK))
			e = lx_tree_blocks_add(&r->file.now, index, lx_tree_block_hash(block));
	}
	return e;
}

/* ------------------------------------------------------------------ frames */

static int check_data(const struct lx_tree_incoming *f, const Lxmgr__V1__TreeData *d, struct lx_err *err)
{
	const char *why = NULL;

	if (!f->entry)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the other node sends content of no file");
	uint64_t size = f->entry->size, len = d->data.len;

	if (d->offset % LX_TREE_BLOCK || d->offset < f->offset)
		why = "out of order";
	else if (d->offset >= size || len > size - d->offset)
		why = "behind its end";
	else if (len > LX_MOVE_CHUNK || (len % LX_TREE_BLOCK && d->offset + len != size))
		why = "in unusual pieces";
	if (why)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the other node sends content of \"%.200s\" %s",
				  f->entry->path, why);
	return 0;
}

int lx_tree_receive_data(struct lx_tree_receiver *r, const Lxmgr__V1__TreeData *d, struct lx_err *err)
{
	struct lx_tree_incoming *f = &r->file;
	int e = check_data(f, d, err);

	if (e < 0)
		return e;
	uint64_t index = d->offset / LX_TREE_BLOCK, left = f->entry->size - d->offset;

	if (d->data.len == 0) {
		e = make_hole(f->fd, d->offset, left < LX_TREE_BLOCK ? left : LX_TREE_BLOCK);
		if (e == 0)
			e = replace_old(r, index);
		f->offset = d->offset + LX_TREE_BLOCK;
	} else {
		e = write_pages(f->fd, d->data.data, d->data.len, d->offset, f->entry->in_place);
		if (e == 0)
			e = hash_blocks(r, d);
		/* To the block's end, in which nothing more may come. */
		f->offset = (d->offset + d->data.len + LX_TREE_BLOCK - 1) / LX_TREE_BLOCK * LX_TREE_BLOCK;
		r->bytes += d->data.len;
	}
	return e < 0 ? lx_err_errno(err, e, "cannot write \"%.200s\"", f->entry->path) : 0;
}

int lx_tree_receive_finish(struct lx_tree_receiver *r, struct lx_err *err)
{
	struct lx_tree_incoming *f = &r->file;
	struct lx_tree_hash entry = { 0 };

	if (!f->entry)
		return 0;
	/* Behind the end there is nothing. */
	int e = keep_old(r, (f->entry->size + LX_TREE_BLOCK - 1) / LX_TREE_BLOCK);

	if (e == 0)
		e = lx_tree_entry_hash(f->entry, &r->scratch, &entry);
	if (e < 0)
		return lx_err_oom(err);
	lx_tree_map_set_hash(&r->map, f->id,
			     lx_tree_whole_hash(entry, lx_tree_content_hash(f->now.v, f->now.n)));
	e = lx_tree_map_set_blocks(&r->map, f->id, &f->now);
	if (e < 0)
		return lx_err_errno(err, e, "cannot remember the content of \"%.200s\"", f->entry->path);
	e = lx_tree_receive_dress(f->fd, f->entry, err);
	lx_tree_receive_drop(f);
	return e;
}
