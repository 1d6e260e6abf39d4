/*
 * The content of a file: stretches with data, read block by block and hashed; blocks that the
 * receiver has already are passed over, neighbours that it has not go out together.
 *
 * The receiver's view of a block: what a frame brings is the whole block, and an empty frame
 * says that the block is nothing but zeros now. Offsets only grow within a file.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "migration/tree_send.h"

struct content {
	struct lx_tree_sender *s;
	int fd;
	Lxmgr__V1__TreeEntry *e;
	const struct lx_tree_block *old;
	size_t n_old, at_old;
	struct lx_tree_blocks *now;
	bool *announced;
	struct lx_err *err;
};

static int announce(struct content *c)
{
	if (*c->announced)
		return 0;
	*c->announced = true;
	return lx_tree_send_frame_entry(c->s, c->e, c->err);
}

static int send_data(struct content *c, uint64_t offset, uint8_t *data, size_t len)
{
	int r = announce(c);

	if (offset + len > c->e->size)
		len = (size_t)(c->e->size - offset);
	return r < 0 ? r : lx_tree_send_frame_data(c->s, offset, data, len, c->err);
}

/* Blocks of old before `index` (UINT64_MAX: all) that were not met have become zeros. */
static int send_zeros(struct content *c, uint64_t index)
{
	for (; c->at_old < c->n_old && c->old[c->at_old].index < index; c->at_old++) {
		uint64_t offset = c->old[c->at_old].index * LX_TREE_BLOCK;

		/* Behind the end: cutting the file took them away. */
		if (offset >= c->e->size)
			continue;
		int r = send_data(c, offset, NULL, 0);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Blocks that differ and follow one another, in the chunk. */
struct run {
	size_t begin, end;
};

static int send_run(struct content *c, struct run *run, uint64_t base)
{
	size_t begin = run->begin, len = run->end - run->begin;

	run->begin = run->end = 0;
	return len ? send_data(c, base + begin, c->s->chunk + begin, len) : 0;
}

/* The chunk holds `len` bytes, whole blocks, of offset `base`. */
static int compare(struct content *c, uint64_t base, size_t len)
{
	struct run run = { 0 };
	int r = 0;

	for (size_t at = 0; at < len && r == 0; at += LX_TREE_BLOCK) {
		uint64_t index = (base + at) / LX_TREE_BLOCK;

		if (lx_tree_is_zero(c->s->chunk + at, LX_TREE_BLOCK)) {
			r = send_run(c, &run, base);
			continue;
		}
		uint64_t hash = lx_tree_block_hash(c->s->chunk + at);

		if (lx_tree_blocks_add(c->now, index, hash) < 0)
			return lx_err_oom(c->err);
		if (c->at_old < c->n_old && c->old[c->at_old].index < index) {
			r = send_run(c, &run, base);
			if (r == 0)
				r = send_zeros(c, index);
		}
		if (c->at_old < c->n_old && c->old[c->at_old].index == index &&
		    c->old[c->at_old++].hash == hash) {
			if (r == 0)
				r = send_run(c, &run, base);
			continue;
		}
		if (run.begin == run.end)
			run.begin = at;
		run.end = at + LX_TREE_BLOCK;
	}
	return r < 0 ? r : send_run(c, &run, base);
}

/* Fills up with zeros what the file does not have: it may have been cut meanwhile. */
static int read_chunk(struct content *c, uint64_t base, size_t len)
{
	size_t have = 0, want = len;

	if (base + want > c->e->size)
		want = (size_t)(c->e->size - base);
	while (have < want) {
		ssize_t n = pread(c->fd, c->s->chunk + have, want - have, (off_t)(base + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return lx_err_errno(c->err, errno, "cannot read \"%.200s\"", c->e->path);
		if (n == 0)
			break;
		have += (size_t)n;
	}
	memset(c->s->chunk + have, 0, len - have);
	return 0;
}

/* The next stretch with data at or behind `from`, in whole blocks. false: there is none. */
static bool next_data(const struct content *c, uint64_t from, uint64_t *begin, uint64_t *end)
{
	off_t data = lseek(c->fd, (off_t)from, SEEK_DATA);
	off_t hole = data < 0 ? data : lseek(c->fd, data, SEEK_HOLE);

	/* A file system that does not tell has data everywhere. */
	if (data < 0 && errno == EINVAL) {
		data = (off_t)from;
		hole = (off_t)c->e->size;
	}
	if (data < 0 || (uint64_t)data >= c->e->size)
		return false;
	if (hole < 0 || (uint64_t)hole > c->e->size)
		hole = (off_t)c->e->size;
	*begin = (uint64_t)data / LX_TREE_BLOCK * LX_TREE_BLOCK;
	*end = ((uint64_t)hole + LX_TREE_BLOCK - 1) / LX_TREE_BLOCK * LX_TREE_BLOCK;
	return true;
}

int lx_tree_send_content(struct lx_tree_sender *s, int fd, Lxmgr__V1__TreeEntry *e,
			 const struct lx_tree_block *old, size_t n_old, struct lx_tree_blocks *now,
			 bool *announced, struct lx_err *err)
{
	struct content c = { .s = s,
			     .fd = fd,
			     .e = e,
			     .old = old,
			     .n_old = n_old,
			     .now = now,
			     .announced = announced,
			     .err = err };
	uint64_t from = 0, begin, end;
	int r = e->in_place ? 0 : announce(&c);

	while (r == 0 && from < e->size && next_data(&c, from, &begin, &end)) {
		/* Two stretches may share a block. */
		for (begin = begin < from ? from : begin; begin < end && r == 0; begin += LX_MOVE_CHUNK) {
			size_t len = end - begin < LX_MOVE_CHUNK ? (size_t)(end - begin) : LX_MOVE_CHUNK;

			r = read_chunk(&c, begin, len);
			if (r == 0)
				r = compare(&c, begin, len);
		}
		from = end;
	}
	return r < 0 ? r : send_zeros(&c, UINT64_MAX);
}
