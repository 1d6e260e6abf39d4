/*
 * Making what an archive holds, see the header.
 *
 * In the order that keeps what the step before set: owner (takes away setuid bits), mode, times.
 * Directories get theirs at the end: until then things are made in them.
 */
#include "migration/tar/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/gunzip.h"
#include "images/jail.h"
#include "lib/cleanup.h"
#include "lib/fs.h"

/* Components: as many as a path can have. */
#define DEPTH_MAX LX_ENTRY_PATH_MAX

/* What a directory gets at the end. */
struct dir {
	char *path;
	struct lx_tarball_entry entry;
};

struct extractor {
	struct lx_tarball_reader *from;
	struct lx_jail jail;
	struct lx_jail link_jail; /* of hard links' other names */
	struct dir *dirs;
	size_t n_dirs, cap_dirs;
	struct lx_err *err;
};

static int failed(struct extractor *x, int errnum, const char *what, const struct lx_tarball_entry *e)
{
	return lx_err_errno(x->err, errnum, "cannot %s \"%.200s\"", what, e->name);
}

/* ------------------------------------------------------------------ how it looks */

static void times(const struct lx_tarball_entry *e, struct timespec ret[2])
{
	ret[0] = e->atime;
	ret[1] = e->mtime;
}

static int dress_fd(struct extractor *x, int fd, const struct lx_tarball_entry *e)
{
	struct timespec t[2];

	times(e, t);
	if (fchown(fd, e->uid, e->gid) < 0)
		return failed(x, errno, "change the owner of", e);
	if (fchmod(fd, e->mode & 07777) < 0)
		return failed(x, errno, "change the mode of", e);
	return futimens(fd, t) < 0 ? failed(x, errno, "set the times of", e) : 0;
}

/* What cannot be opened, or must not: it has just been made under this name. */
static int dress(struct extractor *x, int dir, const char *name, const struct lx_tarball_entry *e)
{
	struct timespec t[2];

	times(e, t);
	if (fchownat(dir, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(x, errno, "change the owner of", e);
	/* Symbolic links have no mode of their own. */
	if (!S_ISLNK(e->mode) && fchmodat(dir, name, e->mode & 07777, 0) < 0)
		return failed(x, errno, "change the mode of", e);
	return utimensat(dir, name, t, AT_SYMLINK_NOFOLLOW) < 0 ? failed(x, errno, "set the times of", e) : 0;
}

/* ------------------------------------------------------------------ files */

/* One piece, to where it belongs. */
static int write_piece(struct extractor *x, int fd, struct lx_tarball_piece p,
		       const struct lx_tarball_entry *e)
{
	while (p.len > 0) {
		const void *data;
		size_t len;
		int r = lx_tarball_data(x->from, p.len < SIZE_MAX ? (size_t)p.len : SIZE_MAX, &data, &len,
					x->err);

		if (r < 0)
			return r;
		for (size_t done = 0; done < len;) {
			ssize_t n = pwrite(fd, (const char *)data + done, len - done, (off_t)(p.at + done));

			if (n < 0 && errno != EINTR)
				return failed(x, errno, "write", e);
			done += n > 0 ? (size_t)n : 0;
		}
		p.at += len;
		p.len -= len;
	}
	return 0;
}

static int write_content(struct extractor *x, int fd, const struct lx_tarball_entry *e)
{
	struct lx_tarball_piece whole = { .len = e->size };
	const struct lx_tarball_piece *pieces = e->is_sparse ? e->pieces : &whole;
	size_t n = e->is_sparse ? e->n_pieces : 1;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = write_piece(x, fd, pieces[i], e);
	/* The hole at its end. */
	if (r == 0 && e->is_sparse && ftruncate(fd, (off_t)e->size) < 0)
		r = failed(x, errno, "set the size of", e);
	return r;
}

/* Whether something in the way is gone, so that a second try is worth it. */
static bool make_way(int dir, const char *name)
{
	return errno == EEXIST && unlinkat(dir, name, 0) == 0;
}

static int make_file(struct extractor *x, int dir, const char *name, const struct lx_tarball_entry *e)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	lx_autoclose int fd = openat(dir, name, flags, 0600);

	if (fd < 0 && make_way(dir, name))
		fd = openat(dir, name, flags, 0600);
	if (fd < 0)
		return failed(x, errno, "create", e);
	int r = write_content(x, fd, e);

	return r < 0 ? r : dress_fd(x, fd, e);
}

/* ------------------------------------------------------------------ all else */

static int make_special(const struct lx_tarball_entry *e, int dir, const char *name)
{
	if (S_ISLNK(e->mode))
		return symlinkat(e->link, dir, name);
	return mknodat(dir, name, (e->mode & S_IFMT) | 0600, e->rdev);
}

static int make_other(struct extractor *x, int dir, const char *name, const struct lx_tarball_entry *e)
{
	if (make_special(e, dir, name) < 0 && !(make_way(dir, name) && make_special(e, dir, name) == 0))
		return failed(x, errno, S_ISLNK(e->mode) ? "make the symbolic link" : "make the node", e);
	return dress(x, dir, name, e);
}

static bool is_same(int dir_a, const char *a, int dir_b, const char *b)
{
	struct stat x, y;

	return fstatat(dir_a, a, &x, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(dir_b, b, &y, AT_SYMLINK_NOFOLLOW) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* Another name of what is there already, whatever that is: links are not followed. */
static int make_hard_link(struct extractor *x, int dir, const char *name, const struct lx_tarball_entry *e)
{
	char path[LX_ENTRY_PATH_MAX];
	const char *other = NULL;
	int r = lx_entry_path_within(e->link, DEPTH_MAX, path, x->err);

	if (r < 0)
		return r;
	if (!path[0])
		return lx_err_set(x->err, LX_INVALID_ARGUMENT,
				  "the archive's entry \"%.200s\" is refused: it is a link to a directory",
				  e->name);
	int other_dir = lx_jail_parent(&x->link_jail, path, &other, x->err);

	if (other_dir < 0)
		return other_dir;
	if (linkat(other_dir, other, dir, name, 0) == 0)
		return 0;
	if (errno == EEXIST && is_same(other_dir, other, dir, name))
		return 0;
	errno = EEXIST;
	if (make_way(dir, name) && linkat(other_dir, other, dir, name, 0) == 0)
		return 0;
	return failed(x, errno, "make the hard link", e);
}

/* ------------------------------------------------------------------ directories */

static int remember(struct extractor *x, const char *path, const struct lx_tarball_entry *e)
{
	if (x->n_dirs == x->cap_dirs) {
		size_t cap = x->cap_dirs ? x->cap_dirs * 2 : 64;
		void *grown = realloc(x->dirs, cap * sizeof(*x->dirs));

		if (!grown)
			return lx_err_oom(x->err);
		x->dirs = grown;
		x->cap_dirs = cap;
	}
	struct dir *d = &x->dirs[x->n_dirs];

	d->path = strdup(path);
	if (!d->path)
		return lx_err_oom(x->err);
	d->entry = *e;
	x->n_dirs++;
	return 0;
}

static int make_dir(struct extractor *x, int dir, const char *name, const struct lx_tarball_entry *e)
{
	struct stat st;

	if (mkdirat(dir, name, 0700) == 0)
		return 0;
	if (errno == EEXIST && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		return 0;
	errno = EEXIST;
	if (make_way(dir, name) && mkdirat(dir, name, 0700) == 0)
		return 0;
	return failed(x, errno, "make the directory", e);
}

/* In their order: of two entries for one directory the later one counts. */
static int dress_dirs(struct extractor *x)
{
	int r = 0;

	for (size_t i = 0; i < x->n_dirs && r == 0; i++) {
		struct dir *d = &x->dirs[i];
		lx_autoclose int fd = lx_jail_open(&x->jail, d->path, O_RDONLY | O_DIRECTORY);

		d->entry.name = d->path[0] ? d->path : ".";
		r = fd < 0 ? failed(x, fd, "open the directory", &d->entry) : dress_fd(x, fd, &d->entry);
	}
	return r;
}

/* ------------------------------------------------------------------ all of it */

static int make(struct extractor *x, const struct lx_tarball_entry *e)
{
	char path[LX_ENTRY_PATH_MAX];
	const char *name = NULL;
	int r = lx_entry_path_within(e->name, DEPTH_MAX, path, x->err);

	if (r < 0)
		return r;
	if (!path[0])
		return S_ISDIR(e->mode)
			       ? remember(x, path, e)
			       : lx_err_set(x->err, LX_INVALID_ARGUMENT,
					    "the archive's entry \"%.200s\" is refused: it is no directory",
					    e->name);
	int dir = lx_jail_parent(&x->jail, path, &name, x->err);

	if (dir < 0)
		return dir;
	if (e->is_hard_link)
		return make_hard_link(x, dir, name, e);
	if (S_ISREG(e->mode))
		return make_file(x, dir, name, e);
	if (!S_ISDIR(e->mode))
		return make_other(x, dir, name, e);
	r = make_dir(x, dir, name, e);
	return r < 0 ? r : remember(x, path, e);
}

int lx_tarball_extract(struct lx_tarball_reader *from, int dirfd, struct lx_err *err)
{
	struct extractor x = { .from = from, .err = err };
	const struct lx_tarball_entry *e;
	int r;

	lx_jail_init(&x.jail, dirfd);
	lx_jail_init(&x.link_jail, dirfd);
	while ((r = lx_tarball_next(from, &e, err)) == 1) {
		r = make(&x, e);
		if (r < 0)
			break;
	}
	if (r == 0)
		r = dress_dirs(&x);
	lx_jail_release(&x.jail);
	lx_jail_release(&x.link_jail);
	for (size_t i = 0; i < x.n_dirs; i++)
		free(x.dirs[i].path);
	free(x.dirs);
	return r;
}

/* ------------------------------------------------------------------ gzip */

struct packed {
	int fd;
	struct lx_gunzip *gunzip;
	uint8_t in[64 * 1024];
};

static ptrdiff_t read_packed(void *arg, const void **data)
{
	struct packed *p = arg;
	ssize_t n;

	do
		n = read(p->fd, p->in, sizeof(p->in));
	while (n < 0 && errno == EINTR);
	*data = p->in;
	return n;
}

static ptrdiff_t next_unpacked(void *arg, const void **data, const char **why)
{
	const struct packed *p = arg;

	return lx_gunzip_next(p->gunzip, data, why);
}

int lx_tarball_extract_gzip(int fd, int dirfd, struct lx_err *err)
{
	struct packed p = { .fd = fd };
	const struct lx_tarball_source source = { .next = next_unpacked, .arg = &p };
	struct lx_tarball_reader *reader = NULL;

	p.gunzip = lx_gunzip_new(read_packed, &p);
	int r = p.gunzip ? lx_tarball_reader_open(&source, &reader, err) : lx_err_oom(err);

	if (r == 0)
		r = lx_tarball_extract(reader, dirfd, err);
	lx_tarball_reader_free(reader);
	lx_gunzip_free(p.gunzip);
	return r;
}
