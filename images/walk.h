/* Visiting a directory tree in a fixed order, without following links or leaving its file system. */
#ifndef LX_IMAGES_WALK_H
#define LX_IMAGES_WALK_H

#include <sys/stat.h>

#include "lib/err.h"

struct lx_walk_entry {
	int dir;               /* the directory it lies in */
	const char *name;      /* in that directory */
	const char *path;      /* from where the walk began */
	const struct stat *st; /* of itself, not of what it points to */
};

/* 0 to go on, or a negative errno with the error filled. */
typedef int (*lx_walk_fn)(void *arg, const struct lx_walk_entry *e, struct lx_err *err);

/*
 * Calls `fn` for all that lies below `dirfd`, sorted by name (bytes), each directory before
 * what is in it. A directory that `fn` has removed is passed over.
 */
int lx_walk(int dirfd, lx_walk_fn fn, void *arg, struct lx_err *err);

#endif
