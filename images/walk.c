/* The walk: one open descriptor a level, names of a directory read and sorted before any is visited. */
#include "images/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images/entry_path.h"
#include "lib/cleanup.h"

/* What was unpacked is never deeper; what a build made may be a little. */
#define DEPTH_MAX (LX_ENTRY_DEPTH_MAX + 8)

struct walk {
	lx_walk_fn fn;
	void *arg;
	dev_t dev;
	char path[LX_ENTRY_PATH_MAX];
	struct lx_err *err;
};

struct names {
	char **v;
	size_t n, cap;
};

static void names_release(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
}

static int names_add(struct names *l, const char *name)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		char **grown = realloc(l->v, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		l->v = grown;
		l->cap = cap;
	}
	l->v[l->n] = strdup(name);
	return l->v[l->n++] ? 0 : -ENOMEM;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int names_read(struct names *l, DIR *d)
{
	for (;;) {
		errno = 0;
		struct dirent *e = readdir(d);

		if (!e)
			break;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		int r = names_add(l, e->d_name);

		if (r < 0)
			return r;
	}
	if (errno)
		return -errno;
	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), by_name);
	return 0;
}

static int walk_dir(struct walk *w, int fd, size_t len, int depth);

static int visit(struct walk *w, int dir, const char *name, size_t len, int depth)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0
				       : lx_err_errno(w->err, errno, "cannot look at \"%.200s\"", w->path);
	struct lx_walk_entry e = { .dir = dir, .name = name, .path = w->path, .st = &st };
	int r = w->fn(w->arg, &e, w->err);

	if (r < 0 || !S_ISDIR(st.st_mode) || st.st_dev != w->dev)
		return r;
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : lx_err_errno(w->err, errno, "cannot open \"%.200s\"", w->path);
	return walk_dir(w, fd, len, depth + 1);
}

/* Takes over fd. The first `len` bytes of w->path name the directory. */
static int walk_dir(struct walk *w, int fd, size_t len, int depth)
{
	lx_autoclosedir DIR *d = fdopendir(fd);
	struct names names = { 0 };

	if (!d) {
		int e = errno;

		close(fd);
		return lx_err_errno(w->err, e, "cannot read directory \"%.200s\"", w->path);
	}
	if (depth > DEPTH_MAX)
		return lx_err_set(w->err, LX_FAILED_PRECONDITION, "\"%.200s\" lies too deep in directories",
				  w->path);
	int r = names_read(&names, d);

	if (r < 0)
		lx_err_errno(w->err, r, "cannot read directory \"%.200s\"", w->path);
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		size_t n = strlen(names.v[i]);

		if (len + 1 + n + 1 > sizeof(w->path)) {
			r = lx_err_set(w->err, LX_FAILED_PRECONDITION,
				       "the path below \"%.200s\" is too long", w->path);
			break;
		}
		if (len > 0)
			w->path[len] = '/';
		memcpy(w->path + len + (len > 0), names.v[i], n + 1);
		r = visit(w, fd, names.v[i], len + (len > 0) + n, depth);
		w->path[len] = '\0';
	}
	names_release(&names);
	return r;
}

int lx_walk(int dirfd, lx_walk_fn fn, void *arg, struct lx_err *err)
{
	struct stat st;
	/* A description of our own: reading moves its position. */
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		int e = errno;

		if (fd >= 0)
			close(fd);
		return lx_err_errno(err, e, "cannot open a directory to walk");
	}
	lx_autofree struct walk *w = calloc(1, sizeof(*w));

	if (!w) {
		close(fd);
		return lx_err_oom(err);
	}
	w->fn = fn;
	w->arg = arg;
	w->dev = st.st_dev;
	w->err = err;
	return walk_dir(w, fd, 0, 0);
}
