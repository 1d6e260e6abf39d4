/*
 * Making and removing directory trees.
 *
 * Removing is written for trees that somebody else filled (a guest's root file system):
 * it works on directory descriptors opened without following links, so that a directory
 * swapped for a symbolic link cannot lead it elsewhere; the kernel refuses each step
 * onto another mount, bind mounts included; and a tree that is deeper than TREE_DEPTH_MAX
 * is flattened (a deep directory is renamed up to the top and removed from there), so
 * that neither descriptors nor stack run out.
 */
#include "lib/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define TREE_DEPTH_MAX 32

static int make_one(const char *path, mode_t mode)
{
	if (lx_is_dir(path) || mkdir(path, mode) == 0)
		return 0;
	int e = errno;

	/* Somebody else may have made it meanwhile. */
	if (e == EEXIST)
		return lx_is_dir(path) ? 0 : -ENOTDIR;
	return -e;
}

int lx_mkdir_p(const char *path, mode_t mode, struct lx_err *err)
{
	lx_autofree char *p = strdup(path);

	if (!p)
		return lx_err_oom(err);
	/* From the second character on: "/" exists. */
	for (char *at = p; *at; at++) {
		if (at == p || *at != '/')
			continue;
		*at = '\0';
		int r = make_one(p, mode);

		if (r < 0)
			return lx_err_errno(err, r, "cannot create directory %s", p);
		*at = '/';
	}
	int r = make_one(p, mode);

	return r < 0 ? lx_err_errno(err, r, "cannot create directory %s", path) : 0;
}

/* ------------------------------------------------------------------ removing */

struct removal {
	int top;        /* directory that too deep ones are renamed into */
	unsigned moved; /* numbers their new names */
	struct lx_err *err;
};

static int remove_entry(struct removal *rm, int parent, const char *name, unsigned depth);

/* Names the entry by its parent's real path, which a swapped directory cannot fake. */
static int cannot_remove(struct removal *rm, int parent, const char *name, int errnum)
{
	char link[64], where[512];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", parent);
	ssize_t n = readlink(link, where, sizeof(where) - 1);

	where[n < 0 ? 0 : n] = '\0';
	lx_err_errno(rm->err, errnum, "cannot remove %s/%s", where, name);
	if (abs(errnum) == EBUSY)
		lx_err_hint(rm->err, "Something is mounted there; unmount it first (findmnt shows it).");
	return -abs(errnum);
}

/* A directory, unless it is a symbolic link or the root of a mount (-EBUSY). */
static int open_below(int parent, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, parent, name, &how, sizeof(how));

	if (fd < 0)
		return errno == EXDEV ? -EBUSY : -errno;
	return fd;
}

static int flatten(struct removal *rm, int parent, const char *name)
{
	for (;;) {
		char to[32];

		snprintf(to, sizeof(to), ".lx-rm-%u", rm->moved++);
		if (renameat(parent, name, rm->top, to) == 0)
			return 0;
		/* The tree may hold such names itself: take the next one. */
		if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
			return cannot_remove(rm, parent, name, errno);
	}
}

/* Removes what is in a directory; takes over fd. */
static int remove_content(struct removal *rm, int parent, const char *name, int fd, unsigned depth)
{
	lx_autoclosedir DIR *d = fdopendir(fd);

	if (!d) {
		int e = errno;

		close(fd);
		return cannot_remove(rm, parent, name, e);
	}
	if (depth == 0)
		rm->top = fd;
	unsigned moved;

	do {
		moved = rm->moved;
		rewinddir(d);
		for (;;) {
			errno = 0;
			struct dirent *e = readdir(d);

			if (!e && errno)
				return cannot_remove(rm, parent, name, errno);
			if (!e)
				break;
			if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
				continue;
			int r = remove_entry(rm, fd, e->d_name, depth + 1);

			if (r < 0)
				return r;
		}
		/* What was flattened meanwhile waits at the top, perhaps behind where we read. */
	} while (depth == 0 && rm->moved != moved);
	return 0;
}

static int remove_entry(struct removal *rm, int parent, const char *name, unsigned depth)
{
	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR)
		return cannot_remove(rm, parent, name, errno);

	/* An empty directory, the root of a mount apart, needs no more than this. */
	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return cannot_remove(rm, parent, name, errno);
	if (depth > TREE_DEPTH_MAX)
		return flatten(rm, parent, name);

	int fd = open_below(parent, name);

	if (fd < 0)
		return cannot_remove(rm, parent, name, fd);
	int r = remove_content(rm, parent, name, fd, depth);

	if (r < 0)
		return r;
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return cannot_remove(rm, parent, name, errno);
	return 0;
}

int lx_rm_rf(const char *path, struct lx_err *err)
{
	size_t n = strlen(path);

	while (n > 0 && path[n - 1] == '/')
		n--;
	lx_autofree char *p = strndup(path, n);

	if (!p)
		return lx_err_oom(err);
	char *slash = strrchr(p, '/');
	const char *base = slash ? slash + 1 : p;

	if (!*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "cannot remove \"%s\": the path must end in the name of what to remove",
				  path);
	if (slash)
		*slash = '\0';
	lx_autoclose int parent = open(!slash ? "." : slash == p ? "/" : p, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (parent < 0)
		return errno == ENOENT ? 0 : lx_err_errno(err, errno, "cannot remove %s", path);
	struct removal rm = { .top = -1, .err = err };

	return remove_entry(&rm, parent, base, 0);
}
