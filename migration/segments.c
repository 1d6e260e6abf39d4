/* Ways to fail: no memory. What has ended, or shrinks, while it is looked at has no pages there. */
#include "migration/segments.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/page_image.h"
#include "migration/proc_text.h"
#include "migration/tree_hash.h"

/* Read in one go: it stays in the processor's cache while it is hashed. */
#define PIECE (64u * LX_PAGE_SIZE)
/* CRIU names memfds by a number of 32 bits. */
#define ID_MAX UINT32_MAX
/* More than this is not looked through while a guest stands still. */
#define SIZE_MAX_AHEAD (UINT64_C(1) << 36)

#define NAME_ANONYMOUS "/dev/zero"
#define NAME_MEMFD     "/memfd:"
#define NAME_SYSV      "/SYSV"
#define DELETED        " (deleted)"

/* The kernel's own tmpfs; 0: cannot be told. */
static dev_t shared_device(void)
{
	static dev_t known;
	struct stat st;

	if (known)
		return known;
	lx_autoclose int fd = memfd_create("lxmgr", MFD_CLOEXEC);

	if (fd >= 0 && fstat(fd, &st) == 0)
		known = st.st_dev;
	return known;
}

/* ------------------------------------------------------------------ finding them */

static struct lx_segment *find(struct lx_segments *s, dev_t dev, uint64_t id)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].dev == dev && s->v[i].id == id)
			return &s->v[i];
	return NULL;
}

/*
 * As CRIU does (criu/memfd.c): "/memfd:ring (deleted)" becomes "ring", "/dev/zero (deleted)" stays
 * "/dev/zero". System V's have none. malloc'ed.
 */
static int name_of(int fd, char **ret)
{
	char link[64], target[PATH_MAX];

	*ret = NULL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (lx_starts_with(target, NAME_SYSV))
		return 0;
	if (lx_ends_with(target, DELETED))
		target[(size_t)n - strlen(DELETED)] = '\0';
	*ret = strdup(lx_starts_with(target, NAME_MEMFD) ? target + strlen(NAME_MEMFD) : target);
	return *ret ? 0 : -ENOMEM;
}

static int append(struct lx_segments *s, struct lx_segment seg)
{
	struct lx_segment *grown = realloc(s->v, (s->n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->v = grown;
	grown[s->n++] = seg;
	return 0;
}

/*
 * Only what is such memory is opened: any file may have a name like it, and to open it may wait, or do
 * something. -1: it is not.
 */
static int open_one(int dir, const char *name)
{
	char link[64];
	struct statx st;
	lx_autoclose int fd = openat(dir, name, O_PATH | O_CLOEXEC);

	if (fd < 0 || statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st) < 0 ||
	    makedev(st.stx_dev_major, st.stx_dev_minor) != shared_device())
		return -1;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return open(link, O_RDONLY | O_CLOEXEC);
}

/* Takes the descriptor, or closes it. */
static int add(struct lx_segments *s, int fd)
{
	lx_autoclose int owned = fd;
	lx_autofree char *name = NULL;
	struct stat st;

	if (owned < 0 || fstat(owned, &st) < 0 || (uint64_t)st.st_size < LX_SEGMENT_MIN ||
	    (uint64_t)st.st_size > SIZE_MAX_AHEAD || st.st_ino > ID_MAX)
		return 0;
	int r = name_of(owned, &name);
	struct lx_segment *known = find(s, st.st_dev, st.st_ino);

	if (r < 0)
		return r == -ENOMEM ? r : 0;
	/* A System V segment's inode is its own number, which another file may have as well. */
	if (known) {
		known->twice = known->twice || !known->name != !name;
		return 0;
	}
	r = append(s, (struct lx_segment){ .dev = st.st_dev,
					   .id = st.st_ino,
					   .name = name,
					   .sealable = fcntl(owned, F_GET_SEALS) != F_SEAL_SEAL,
					   .fd = owned });
	if (r == 0) {
		(void)lx_move_ptr(name);
		(void)lx_move_fd(owned);
	}
	return r;
}

int lx_segments_add_file(struct lx_segments *s, int fd, char *path)
{
	lx_autoclose int owned = fd;
	lx_autofree char *name = path;
	struct stat st;

	if (!name)
		return -ENOMEM;
	if (owned < 0 || fstat(owned, &st) < 0 || (uint64_t)st.st_size > SIZE_MAX_AHEAD ||
	    find(s, st.st_dev, st.st_ino))
		return 0;
	int r = append(s,
		       (struct lx_segment){ .dev = st.st_dev, .id = st.st_ino, .path = name, .fd = owned });

	if (r == 0) {
		name = NULL;
		(void)lx_move_fd(owned);
	}
	return r;
}

static bool may_be_one(const struct lx_proc_map *map)
{
	return map->end - map->start >= LX_SEGMENT_MIN &&
	       (lx_starts_with(map->path, NAME_ANONYMOUS) || lx_starts_with(map->path, NAME_MEMFD) ||
		lx_starts_with(map->path, NAME_SYSV));
}

static int find_mapped(struct lx_segments *s, pid_t pid)
{
	char path[128];
	lx_autobuf struct lx_buf text = { 0 };
	struct lx_proc_map map;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	if (lx_read_file(path, LX_PROC_MAPS_MAX, &text, NULL) < 0)
		return 0;
	for (const char *at = lx_buf_str(&text); r == 0 && (at = lx_proc_map_next(at, &map));) {
		if (!may_be_one(&map))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/map_files/%s", (int)pid, map.range);
		r = add(s, open_one(AT_FDCWD, path));
	}
	return r;
}

/* Those that nobody has mapped now: a ring that is written to, a program kept in memory. */
static int find_open(struct lx_segments *s, pid_t pid)
{
	char path[64], target[sizeof(NAME_MEMFD)];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	lx_autoclosedir DIR *d = opendir(path);

	for (struct dirent *e; d && r == 0 && (e = readdir(d));) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		if (lx_streq(target, NAME_MEMFD))
			r = add(s, open_one(dirfd(d), e->d_name));
	}
	return r;
}

int lx_segments_find(struct lx_segments *s, const pid_t *pids, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		r = find_mapped(s, pids[i]);
		if (r == 0)
			r = find_open(s, pids[i]);
	}
	return r;
}

void lx_segments_release(struct lx_segments *s)
{
	for (size_t i = 0; i < s->n; i++) {
		close(s->v[i].fd);
		free(s->v[i].name);
		free(s->v[i].path);
		free(s->v[i].sent);
	}
	free(s->v);
	*s = (struct lx_segments){ 0 };
}

/* ------------------------------------------------------------------ one of them */

uint64_t lx_segment_bytes(const struct lx_segment *seg)
{
	struct stat st;

	return fstat(seg->fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512; /* stat(2) */
}

ssize_t lx_segment_read(const struct lx_segment *seg, uint64_t offset, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(seg->fd, (char *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int make_room(struct lx_segment *seg, size_t pages)
{
	if (pages <= seg->pages)
		return 0;
	struct lx_tree_hash *grown = realloc(seg->sent, pages * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	memset(grown + seg->pages, 0, (pages - seg->pages) * sizeof(*grown));
	seg->sent = grown;
	seg->pages = pages;
	return 0;
}

int lx_segment_sent(struct lx_segment *seg, uint64_t offset, const void *data, size_t len)
{
	size_t first = (size_t)(offset / LX_PAGE_SIZE), n = len / LX_PAGE_SIZE;

	if (make_room(seg, first + n) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		seg->sent[first + i] = lx_tree_hash128((const char *)data + i * LX_PAGE_SIZE, LX_PAGE_SIZE);
	return 0;
}

/* ------------------------------------------------------------------ comparing */

static bool is_same(const struct lx_segment *seg, size_t page, const char *data)
{
	const struct lx_tree_hash *sent = page < seg->pages ? &seg->sent[page] : NULL;

	if (!sent || (sent->lo == 0 && sent->hi == 0))
		return false;
	struct lx_tree_hash now = lx_tree_hash128(data, LX_PAGE_SIZE);

	return now.lo == sent->lo && now.hi == sent->hi;
}

static int compare_piece(const struct lx_segment *seg, uint64_t at, const char *data, size_t len,
			 struct lx_page_runs *same, struct lx_page_runs *other)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < len; i += LX_PAGE_SIZE) {
		struct lx_page_runs *to =
			is_same(seg, (size_t)((at + i) / LX_PAGE_SIZE), data + i) ? same : other;

		if (to)
			r = lx_page_runs_append(to, at + i, at + i + LX_PAGE_SIZE);
	}
	return r;
}

static int compare_extent(const struct lx_segment *seg, uint64_t at, uint64_t end, char *buf,
			  struct lx_page_runs *same, struct lx_page_runs *other)
{
	int r = 0;

	while (r == 0 && at < end) {
		size_t want = end - at < PIECE ? (size_t)(end - at) : PIECE;
		ssize_t n = lx_segment_read(seg, at, buf, want);

		if (n <= 0)
			return (int)n;
		/* Its last page may be a part of one. */
		size_t whole = ((size_t)n + LX_PAGE_SIZE - 1) / LX_PAGE_SIZE * LX_PAGE_SIZE;

		memset(buf + n, 0, whole - (size_t)n);
		r = compare_piece(seg, at, buf, whole, same, other);
		at += whole;
	}
	return r;
}

int lx_segment_compare(const struct lx_segment *seg, struct lx_page_runs *same, struct lx_page_runs *other,
		       struct lx_err *err)
{
	lx_autofree char *buf = malloc(PIECE);
	off_t data = 0, hole = 0;
	int r = buf ? 0 : -ENOMEM;

	if (same)
		lx_page_runs_clear(same);
	if (other)
		lx_page_runs_clear(other);
	while (r == 0 && (data = lseek(seg->fd, hole, SEEK_DATA)) >= 0) {
		hole = lseek(seg->fd, data, SEEK_HOLE);
		if (hole < 0)
			break; /* it has shrunk */
		r = compare_extent(seg, (uint64_t)data, (uint64_t)hole, buf, same, other);
		/* A last part of a page. */
		hole = (hole + (off_t)LX_PAGE_SIZE - 1) / (off_t)LX_PAGE_SIZE * (off_t)LX_PAGE_SIZE;
	}
	return r < 0 ? lx_err_errno(err, r, "cannot compare memory that processes share") : 0;
}
