/* Paths in a guest, once this process is its root (lx_guest_enter()). */
#ifndef LX_WORKER_GUEST_PATH_H
#define LX_WORKER_GUEST_PATH_H

#include <stdbool.h>

#include "lib/err.h"

/* Longest path of a request, with its NUL. */
#define LX_GUEST_PATH_MAX 4096

/*
 * A path of a request: absolute; taken apart into the directory and the last name, which is
 * "" for the root directory. The parts live in `dir` and `base`, trailing slashes are dropped.
 */
struct lx_guest_path {
	char dir[LX_GUEST_PATH_MAX];
	char base[LX_GUEST_PATH_MAX];
};

int lx_guest_path_parse(const char *path, struct lx_guest_path *ret, struct lx_err *err);

/* Is it a relative path without "", "." and ".." as parts? Those of a tree that is pushed must be. */
bool lx_guest_entry_ok(const char *path);

/*
 * Opens the directory that holds `path` (one that lx_guest_entry_ok() accepts) below `root_fd`,
 * and points *ret_leaf at the last part. No link on the way is followed. A descriptor, or a
 * negative errno.
 */
int lx_guest_open_parent(int root_fd, const char *path, const char **ret_leaf);

#endif
