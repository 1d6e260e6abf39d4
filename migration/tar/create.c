/*
 * Walking a directory into an archive, see the header.
 *
 * The happy path: a directory's own entry, then all in it that is no directory, then one directory after the
 * other. Each is opened from the top, so that but one is open however deep they lie.
 */
#include "migration/tar/create.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/jail.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/map.h"
#include "lib/str.h"
#include "migration/hidden_runs.h"
#include "migration/tar/write.h"

#define CHUNK (64u * 1024)
/* st_blocks is in units of this, whatever the file system's own are. */
#define STAT_BLOCK 512

/* A file with several names, of which one is in the archive. */
struct several {
	char *name;
	nlink_t missing;
};

struct creator {
	struct lx_tarball_writer *to;
	struct lx_jail jail;
	dev_t dev;
	struct lx_buf path;    /* of what is being looked at, as the archive names it: "./run/lock" */
	struct lx_map several; /* "device:inode" -> struct several */
	struct lx_tarball_entry entry;
	struct lx_hidden_runs hidden; /* of the file that is being looked at */
	char target[LX_ENTRY_PATH_MAX];
	uint8_t chunk[CHUNK];
	struct lx_err *err;
};

static int failed(struct creator *c, const char *what)
{
	return lx_err_errno(c->err, errno, "cannot %s \"%.200s\"", what, lx_buf_str(&c->path));
}

static void free_several(void *value)
{
	struct several *s = value;

	free(s->name);
	free(s);
}

/* ------------------------------------------------------------------ entries */

static void describe(struct creator *c, const struct stat *st)
{
	c->entry = (struct lx_tarball_entry){
		.name = lx_buf_str(&c->path),
		.link = "",
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = st->st_rdev,
		.atime = st->st_atim,
		.mtime = st->st_mtim,
		.pieces = c->entry.pieces,
		.cap_pieces = c->entry.cap_pieces,
	};
}

/* 1: another of its names is in the archive already; this one now as well. */
static int add_hard_link(struct creator *c, const struct stat *st)
{
	char key[48];

	snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st->st_dev,
		 (unsigned long long)st->st_ino);
	struct several *s = lx_map_get(&c->several, key);

	if (s) {
		c->entry.link = s->name;
		c->entry.is_hard_link = true;
		s->missing--;
		int r = lx_tarball_write_entry(c->to, &c->entry, c->err);

		return r < 0 ? r : 1;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return lx_err_oom(c->err);
	s->name = strdup(lx_buf_str(&c->path));
	s->missing = st->st_nlink - 1;
	if (s->name && lx_map_set(&c->several, key, s) == 0)
		return 0;
	free_several(s);
	return lx_err_oom(c->err);
}

/* ------------------------------------------------------------------ files */

static int add_part(struct creator *c, off_t at, off_t end)
{
	c->entry.stored += (uint64_t)(end - at);
	return lx_tarball_add_piece(&c->entry, (uint64_t)at, (uint64_t)(end - at)) < 0 ? lx_err_oom(c->err)
										       : 0;
}

/* Where its holes are, if it takes less room than it is long. */
/* Without what is not to be shown (migration/hidden_pages.h). */
static int add_piece(struct creator *c, off_t at, off_t end)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->hidden.n && at < end; i++) {
		off_t from = (off_t)c->hidden.v[i].start, to = (off_t)c->hidden.v[i].end;

		if (to <= at || from >= end)
			continue;
		if (from > at)
			r = add_part(c, at, from);
		at = to;
	}
	return r == 0 && at < end ? add_part(c, at, end) : r;
}

static bool ends_at(const struct lx_tarball_entry *e, off_t size)
{
	const struct lx_tarball_piece *last = e->n_pieces > 0 ? &e->pieces[e->n_pieces - 1] : NULL;

	return last && last->at + last->len == (uint64_t)size;
}

static int find_pieces(struct creator *c, int fd, const struct stat *st)
{
	off_t at = 0, end = 0;
	int r = 0;

	lx_hidden_runs_of(st, &c->hidden);
	c->entry.size = (uint64_t)st->st_size;
	if (st->st_size / STAT_BLOCK > st->st_blocks || c->hidden.n > 0) {
		while (r == 0 && end < st->st_size && (at = lseek(fd, end, SEEK_DATA)) >= 0) {
			end = lseek(fd, at, SEEK_HOLE);
			if (end < 0)
				return failed(c, "look for holes in");
			r = add_piece(c, at, end < st->st_size ? end : st->st_size);
		}
		if (r == 0 && at < 0 && errno != ENXIO)
			return failed(c, "look for content in");
		c->entry.is_sparse = c->entry.stored < c->entry.size;
		if (r == 0 && c->entry.is_sparse && !ends_at(&c->entry, st->st_size))
			r = add_part(c, st->st_size, st->st_size);
	}
	if (!c->entry.is_sparse)
		c->entry.stored = c->entry.size;
	return r;
}

static int write_piece(struct creator *c, int fd, struct lx_tarball_piece p)
{
	while (p.len > 0) {
		ssize_t n = pread(fd, c->chunk, p.len < CHUNK ? (size_t)p.len : CHUNK, (off_t)p.at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return failed(c, "read");
		if (n == 0)
			return lx_err_set(c->err, LX_ABORTED,
					  "\"%.200s\" has become shorter while it was read",
					  lx_buf_str(&c->path));
		int r = lx_tarball_write_data(c->to, c->chunk, (size_t)n, c->err);

		if (r < 0)
			return r;
		p.at += (uint64_t)n;
		p.len -= (uint64_t)n;
	}
	return 0;
}

static int add_file(struct creator *c, int dir, const char *name, const struct stat *st)
{
	if (st->st_size == 0)
		return lx_tarball_write_entry(c->to, &c->entry, c->err);
	lx_autoclose int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return failed(c, "open");
	int r = find_pieces(c, fd, st);

	if (r == 0)
		r = lx_tarball_write_entry(c->to, &c->entry, c->err);
	if (r == 0 && !c->entry.is_sparse)
		r = write_piece(c, fd, (struct lx_tarball_piece){ .len = c->entry.size });
	for (size_t i = 0; i < c->entry.n_pieces && c->entry.is_sparse && r == 0; i++)
		r = write_piece(c, fd, c->entry.pieces[i]);
	return r < 0 ? r : lx_tarball_write_padding(c->to, &c->entry, c->err);
}

/* ------------------------------------------------------------------ all else */

static int add_symlink(struct creator *c, int dir, const char *name)
{
	ssize_t n = readlinkat(dir, name, c->target, sizeof(c->target));

	if (n < 0)
		return failed(c, "read the symbolic link");
	if ((size_t)n == sizeof(c->target))
		return lx_err_set(c->err, LX_INVALID_ARGUMENT, "the symbolic link \"%.200s\" is too long",
				  lx_buf_str(&c->path));
	c->target[n] = '\0';
	c->entry.link = c->target;
	return lx_tarball_write_entry(c->to, &c->entry, c->err);
}

static int add_other(struct creator *c, int dir, const char *name, const struct stat *st)
{
	if (S_ISSOCK(st->st_mode))
		return 0;
	describe(c, st);
	if (st->st_nlink > 1) {
		int r = add_hard_link(c, st);

		if (r != 0)
			return r < 0 ? r : 0;
	}
	if (S_ISREG(st->st_mode))
		return add_file(c, dir, name, st);
	if (S_ISLNK(st->st_mode))
		return add_symlink(c, dir, name);
	return lx_tarball_write_entry(c->to, &c->entry, c->err);
}

/* ------------------------------------------------------------------ directories */

static int enter(struct creator *c, const char *name)
{
	if (lx_buf_puts(&c->path, name) < 0)
		return lx_err_oom(c->err);
	/* Whoever unpacks it could not make it. */
	if (c->path.len >= LX_ENTRY_PATH_MAX)
		return lx_err_set(c->err, LX_INVALID_ARGUMENT, "the name \"%.200s...\" is too long",
				  lx_buf_str(&c->path));
	return 0;
}

static void leave(struct creator *c, size_t len)
{
	c->path.len = len;
	c->path.data[len] = '\0';
}

/* Directories are left for later: their names go to `dirs`, each with its NUL. */
static int add_one(struct creator *c, int dir, const char *name, struct lx_buf *dirs)
{
	struct stat st;
	size_t len = c->path.len;
	int r = enter(c, name);

	if (r == 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = failed(c, "look at");
	else if (r == 0 && !S_ISDIR(st.st_mode))
		r = add_other(c, dir, name, &st);
	else if (r == 0 && lx_buf_append(dirs, name, strlen(name) + 1) < 0)
		r = lx_err_oom(c->err);
	leave(c, len);
	return r;
}

/* Takes the descriptor. */
static int add_content(struct creator *c, int fd, struct lx_buf *dirs)
{
	lx_autoclosedir DIR *d = fdopendir(fd);
	int r = 0;

	if (!d) {
		close(fd);
		return failed(c, "list");
	}
	while (r == 0) {
		errno = 0;
		const struct dirent *e = readdir(d);

		if (!e)
			return errno ? failed(c, "list") : 0;
		if (!lx_streq(e->d_name, ".") && !lx_streq(e->d_name, ".."))
			r = add_one(c, fd, e->d_name, dirs);
	}
	return r;
}

/* Opens the directory at `path`; its entry is written. -1: all is well, but what is in it does not belong
 * here. */
static int open_dir(struct creator *c, int *ret)
{
	const char *path = lx_buf_str(&c->path);
	lx_autoclose int fd = lx_jail_open(&c->jail, path, O_RDONLY | O_DIRECTORY);
	struct stat st;

	*ret = -1;
	errno = fd < 0 ? -fd : 0;
	/* EXDEV: a mount. */
	if (fd < 0 && fd != -EXDEV)
		return failed(c, "open the directory");
	if ((fd >= 0 ? fstat(fd, &st) : fstatat(c->jail.root, path, &st, AT_SYMLINK_NOFOLLOW)) < 0)
		return failed(c, "look at");
	describe(c, &st);
	/* "./" for the top, which ends in a slash already. */
	size_t len = c->path.len;

	if (path[len - 1] != '/' && lx_buf_puts(&c->path, "/") < 0)
		return lx_err_oom(c->err);
	c->entry.name = lx_buf_str(&c->path);
	int r = lx_tarball_write_entry(c->to, &c->entry, c->err);

	if (r == 0 && fd >= 0 && st.st_dev == c->dev)
		*ret = lx_move_fd(fd);
	return r;
}

/* That at `path`, which ends in a slash afterwards. As deep as paths can be. */
static int add_dir(struct creator *c)
{
	lx_autobuf struct lx_buf dirs = { 0 };
	int fd, r = open_dir(c, &fd);
	size_t len = c->path.len;

	if (r == 0 && fd >= 0)
		r = add_content(c, fd, &dirs);
	for (size_t at = 0; at < dirs.len && r == 0;) {
		const char *name = (const char *)dirs.data + at;

		at += strlen(name) + 1;
		r = enter(c, name);
		if (r == 0)
			r = add_dir(c);
		leave(c, len);
	}
	return r;
}

/* ------------------------------------------------------------------ all of it */

static void tell_missing(const struct lx_map *several)
{
	for (struct lx_map_entry *e = lx_map_first(several); e; e = lx_map_next(e)) {
		const struct several *s = lx_map_value(e);

		if (s->missing > 0)
			fprintf(stderr,
				"lx-criu-tar: \"%s\" has names elsewhere, which are not in the archive\n",
				s->name);
	}
}

static int add_all(struct creator *c, int dirfd)
{
	struct stat st;

	if (lx_buf_puts(&c->path, "./") < 0)
		return lx_err_oom(c->err);
	if (fstat(dirfd, &st) < 0)
		return failed(c, "look at");
	c->dev = st.st_dev;
	int r = add_dir(c);

	return r < 0 ? r : lx_tarball_write_end(c->to, c->err);
}

int lx_tarball_create(int dirfd, int fd, struct lx_err *err)
{
	struct creator *c = malloc(sizeof(*c));

	if (!c)
		return lx_err_oom(err);
	c->path = (struct lx_buf){ 0 };
	c->entry = (struct lx_tarball_entry){ 0 };
	c->hidden = (struct lx_hidden_runs){ 0 };
	c->err = err;
	lx_jail_init(&c->jail, dirfd);
	lx_map_init(&c->several, free_several);
	int r = lx_tarball_writer_open(fd, &c->to, err);

	if (r == 0)
		r = add_all(c, dirfd);
	if (r == 0)
		tell_missing(&c->several);
	lx_tarball_writer_free(c->to);
	lx_hidden_runs_load(NULL, &c->hidden);
	lx_map_release(&c->several);
	lx_buf_release(&c->path);
	free(c->entry.pieces);
	lx_jail_release(&c->jail);
	free(c);
	return r;
}
