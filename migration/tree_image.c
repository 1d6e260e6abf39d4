/* One walk over an image, with a list of directories to do instead of a stack of open ones. */
#include "migration/tree_image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "migration/tree.h"

static int add_name(struct lx_tree_image *image, uint64_t ino, const char *path)
{
	if (image->n == image->cap) {
		size_t cap = image->cap ? image->cap * 2 : 64;
		struct lx_tree_image_name *grown = realloc(image->v, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		image->v = grown;
		image->cap = cap;
	}
	char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	image->v[image->n++] = (struct lx_tree_image_name){ .ino = ino, .path = copy };
	return 0;
}

static int open_dir(int top, const char *path)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
	int fd = (int)syscall(SYS_openat2, top, *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* Directories that are still to be read, as paths. */
struct paths {
	char **v;
	size_t n, cap;
};

static void paths_release(struct paths *p)
{
	while (p->n > 0)
		free(p->v[--p->n]);
	free(p->v);
}

static int paths_push(struct paths *p, const char *path)
{
	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 64;
		char **grown = realloc(p->v, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		p->v = grown;
		p->cap = cap;
	}
	p->v[p->n] = strdup(path);
	return p->v[p->n] ? (int)(p->n++, 0) : -ENOMEM;
}

static int read_dir(int top, struct lx_tree_image *image, const char *path, struct paths *todo)
{
	int fd = open_dir(top, path);

	if (fd < 0)
		return fd;
	lx_autoclosedir DIR *d = fdopendir(fd);

	if (!d) {
		int e = errno;

		close(fd);
		return -e;
	}
	for (struct dirent *e; (errno = 0, e = readdir(d));) {
		struct stat st;
		char below[LX_TREE_PATH_MAX];
		int r = 0;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (snprintf(below, sizeof(below), "%s%s%s", path, *path ? "/" : "", e->d_name) >=
		    (int)sizeof(below))
			return -ENAMETOOLONG;
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (S_ISDIR(st.st_mode))
			r = paths_push(todo, below);
		else if (st.st_nlink > 1)
			r = add_name(image, st.st_ino, below);
		if (r < 0)
			return r;
	}
	return -errno;
}

static int by_inode(const void *a, const void *b)
{
	const struct lx_tree_image_name *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return strcmp(x->path, y->path);
}

int lx_tree_image_read(int dir, struct lx_tree_image *image, struct lx_err *err)
{
	struct paths todo = { 0 };
	int r = paths_push(&todo, "");

	while (r == 0 && todo.n > 0) {
		lx_autofree char *path = todo.v[--todo.n];

		r = read_dir(dir, image, path, &todo);
	}
	paths_release(&todo);
	if (r < 0)
		return lx_err_errno(err, r, "cannot read the image");
	if (image->n)
		qsort(image->v, image->n, sizeof(*image->v), by_inode);
	return 0;
}

const struct lx_tree_image_name *lx_tree_image_names(const struct lx_tree_image *image, uint64_t ino,
						     size_t *n)
{
	size_t low = 0, high = image->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (image->v[mid].ino < ino)
			low = mid + 1;
		else
			high = mid;
	}
	for (*n = 0; low + *n < image->n && image->v[low + *n].ino == ino; ++*n)
		;
	return *n ? image->v + low : NULL;
}

void lx_tree_image_release(struct lx_tree_image *image)
{
	for (size_t i = 0; i < image->n; i++)
		free(image->v[i].path);
	free(image->v);
	*image = (struct lx_tree_image){ 0 };
}
