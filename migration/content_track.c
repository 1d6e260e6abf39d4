#include "migration/content_track.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "migration/memory_maps.h"
#include "migration/page_image.h"
#include "migration/soft_dirty.h"
#include "migration/tree_hash.h"

#define ROOM_MIN 1024u
/* Pages that are looked at in one go. */
#define PIECE 256u
/* A longer one takes too long to be looked through, present or not: what it has is sent at the end. */
#define MAP_MAX (UINT64_C(1) << 34)
#define THERE   (LX_PAGEMAP_PRESENT | LX_PAGEMAP_SWAPPED)
/* Of a page's entry: where it is, whatever has become of it there. */
#define PLACE (THERE | LX_PAGEMAP_FRAME)
/* From this look on marks are believed: see content_track.h. */
#define SETTLED 2u

/* ------------------------------------------------------------------ hashes by address */

struct lx_page_hash {
	uint64_t address; /* 0: a free place; no process has a page there */
	uint64_t entry;   /* of its page map, read before the content was; 0: not known */
	struct lx_tree_hash hash;
	bool sent; /* the hash is that of something sent */
};

/* Its place, or the free one it would have. There is one. */
static struct lx_page_hash *place(struct lx_page_hash *table, size_t room, uint64_t address)
{
	/* Neighbours go to neighbouring places: addresses come in order. */
	size_t i = (size_t)(address / LX_PAGE_SIZE) & (room - 1);

	while (table[i].address != 0 && table[i].address != address)
		i = (i + 1) & (room - 1);
	return &table[i];
}

static int grow(struct lx_content_track *t)
{
	size_t room = t->room ? 2 * t->room : ROOM_MIN;
	struct lx_page_hash *table = calloc(room, sizeof(*table));

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < t->room; i++)
		if (t->table[i].address != 0)
			*place(table, room, t->table[i].address) = t->table[i];
	free(t->table);
	t->table = table;
	t->room = room;
	return 0;
}

static struct lx_page_hash *find(const struct lx_content_track *t, uint64_t address)
{
	struct lx_page_hash *p = t->room ? place(t->table, t->room, address) : NULL;

	return p && p->address != 0 ? p : NULL;
}

static struct lx_page_hash *find_or_add(struct lx_content_track *t, uint64_t address)
{
	if (2 * t->n >= t->room && grow(t) < 0)
		return NULL;
	struct lx_page_hash *p = place(t->table, t->room, address);

	t->n += p->address == 0;
	p->address = address;
	return p;
}

int lx_content_track_sent(struct lx_content_track *t, uint64_t address, const void *data, size_t len)
{
	for (size_t at = 0; at + LX_PAGE_SIZE <= len; at += LX_PAGE_SIZE) {
		struct lx_page_hash *p = find_or_add(t, address + at);

		if (!p)
			return -ENOMEM;
		p->hash = lx_tree_hash128((const char *)data + at, LX_PAGE_SIZE);
		p->sent = true;
	}
	return 0;
}

/* ------------------------------------------------------------------ life */

int lx_content_track_open(pid_t pid, enum lx_content_marks marks, struct lx_content_track *ret,
			  struct lx_err *err)
{
	char path[64];

	*ret = LX_CONTENT_TRACK_NONE;
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	lx_autoclose int proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = proc < 0 ? -errno : 0;

	/* First the map, then the marks: it is of the memory that the process has now, should it change it.
	 */
	if (r == 0 && (ret->pagemap = openat(proc, "pagemap", O_RDONLY | O_CLOEXEC)) < 0)
		r = -errno;
	if (r == 0 && marks == LX_MARKS_CLEAR)
		r = lx_soft_dirty_clear(proc);
	if (r < 0) {
		lx_content_track_close(ret);
		return lx_err_errno(err, r, "cannot look at the memory of process %d", (int)pid);
	}
	ret->pid = pid;
	ret->marks = marks != LX_MARKS_NONE;
	return 0;
}

void lx_content_track_close(struct lx_content_track *t)
{
	if (t->pagemap >= 0)
		close(t->pagemap);
	free(t->table);
	*t = LX_CONTENT_TRACK_NONE;
}

/* ------------------------------------------------------------------ comparing */

struct comparison {
	struct lx_content_track *t;
	char *buf; /* a piece's pages */
	struct lx_page_runs *watched,
		*written; /* `watched` NULL: pages nothing was sent of count as written */
};

static bool same(const struct lx_page_hash *known, const char *data)
{
	if (!known->sent)
		return false;
	struct lx_tree_hash hash = lx_tree_hash128(data, LX_PAGE_SIZE);

	return hash.lo == known->hash.lo && hash.hi == known->hash.hi;
}

/* A page without data could not be read: it may be anything. */
static int compare(struct comparison *c, uint64_t address, const char *data)
{
	const struct lx_page_hash *known = find(c->t, address);

	if (c->watched && (!known || !known->sent))
		return 0;
	if (c->watched && lx_page_runs_append(c->watched, address, address + LX_PAGE_SIZE) < 0)
		return -ENOMEM;
	if (known && data && same(known, data))
		return 0;
	return lx_page_runs_append(c->written, address, address + LX_PAGE_SIZE);
}

/* Pages that are all there. */
static int compare_run(struct comparison *c, uint64_t start, size_t pages)
{
	struct iovec local = { .iov_base = c->buf, .iov_len = pages * LX_PAGE_SIZE },
		     remote = { .iov_base = (void *)(uintptr_t)start, .iov_len = pages * LX_PAGE_SIZE };
	ssize_t n = process_vm_readv(c->t->pid, &local, 1, &remote, 1, 0);
	size_t got = n > 0 ? (size_t)n / LX_PAGE_SIZE : 0;
	int r = n < 0 && errno == ESRCH ? -ESRCH : 0;

	for (size_t i = 0; r == 0 && i < pages; i++)
		r = compare(c, start + i * LX_PAGE_SIZE, i < got ? c->buf + i * LX_PAGE_SIZE : NULL);
	return r;
}

/*
 * Whether the page's content is for certain what it was when it was last looked at. While the
 * process runs its place is noted, before its content is read. 1, 0, or a negative errno.
 */
static int is_untouched(struct comparison *c, uint64_t address, uint64_t entry)
{
	struct lx_content_track *t = c->t;

	if (!t->marks)
		return 0;
	struct lx_page_hash *p =
		c->watched ? (struct lx_page_hash *)(uintptr_t)find(t, address) : find_or_add(t, address);

	if (!p)
		return c->watched ? 0 : -ENOMEM;
	bool stays = p->entry != 0 && (entry & LX_PAGEMAP_FRAME) && (entry & PLACE) == (p->entry & PLACE);

	if (stays && (p->entry & ~entry & LX_PAGEMAP_MARKED))
		t->lost = true;
	if (stays && p->sent && !(entry & LX_PAGEMAP_MARKED) && t->takes >= SETTLED)
		return 1;
	if (!c->watched)
		p->entry = entry;
	return 0;
}

/* Runs of pages that have to be read are read in one go. */
static int compare_piece(struct comparison *c, uint64_t at, const uint64_t *entries, size_t n)
{
	size_t pages = 0;
	int r = 0;

	for (size_t i = 0; r >= 0 && i <= n; i++) {
		uint64_t address = at + i * LX_PAGE_SIZE;
		bool there = i < n && (entries[i] & THERE);

		r = there ? is_untouched(c, address, entries[i]) : 0;
		if (there && r == 0) {
			pages++;
			continue;
		}
		if (pages > 0 && r >= 0) {
			int done = compare_run(c, address - pages * LX_PAGE_SIZE, pages);

			r = done < 0 ? done : r;
		}
		pages = 0;
		if (r == 1 && c->watched &&
		    lx_page_runs_append(c->watched, address, address + LX_PAGE_SIZE) < 0)
			r = -ENOMEM;
	}
	return r < 0 ? r : 0;
}

static int compare_map(struct comparison *c, uint64_t start, uint64_t end)
{
	uint64_t entries[PIECE];
	int r = 0;

	for (uint64_t at = start; r == 0 && at < end;) {
		size_t want = (end - at) / LX_PAGE_SIZE < PIECE ? (end - at) / LX_PAGE_SIZE : PIECE;
		ssize_t n = pread(c->t->pagemap, entries, want * sizeof(*entries),
				  (off_t)(at / LX_PAGE_SIZE * sizeof(*entries)));

		if (n < (ssize_t)sizeof(*entries))
			return n < 0 ? -errno : 0; /* it has ended */
		size_t got = (size_t)n / sizeof(*entries);

		r = compare_piece(c, at, entries, got);
		at += got * LX_PAGE_SIZE;
	}
	return r;
}

static int walk(struct comparison *c, struct lx_err *err)
{
	char path[64];
	lx_autobuf struct lx_buf text = { 0 };
	lx_autofree char *buf = malloc((size_t)PIECE * LX_PAGE_SIZE);
	struct lx_proc_map map;

	if (!buf)
		return lx_err_oom(err);
	c->buf = buf;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)c->t->pid);
	int r = lx_read_file(path, LX_PROC_MAPS_MAX, &text, err);

	if (r < 0)
		return r;
	for (const char *at = lx_buf_str(&text); r == 0 && (at = lx_proc_map_next(at, &map));)
		if (lx_map_goes_ahead(&map) && map.end - map.start <= MAP_MAX)
			r = compare_map(c, map.start, map.end);
	return r < 0 ? lx_err_errno(err, r, "cannot compare the memory of process %d", (int)c->t->pid) : 0;
}

/* Once more, when marks turn out to have been taken away: what was left unread may be anything. */
static int walk_again(struct comparison *c, struct lx_err *err)
{
	c->t->lost = false;
	int r = walk(c, err);

	if (r < 0 || !c->t->lost)
		return r;
	c->t->marks = false;
	if (c->watched)
		lx_page_runs_clear(c->watched);
	lx_page_runs_clear(c->written);
	return walk(c, err);
}

int lx_content_track_take(struct lx_content_track *t, struct lx_page_runs *ret, struct lx_err *err)
{
	struct comparison c = { .t = t, .written = ret };

	lx_page_runs_clear(ret);
	int r = walk_again(&c, err);

	t->takes += r == 0;
	return r;
}

int lx_content_track_look(struct lx_content_track *t, struct lx_page_runs *watched,
			  struct lx_page_runs *written, struct lx_err *err)
{
	struct comparison c = { .t = t, .watched = watched, .written = written };

	lx_page_runs_clear(watched);
	lx_page_runs_clear(written);
	return walk_again(&c, err);
}
