/*
 * Writing into a root file system that is being made. All names are relative to its root
 * and no link in it is followed, so that "etc/resolv.conf" is never the node's. Missing
 * directories are made; what is there already is replaced. Everything belongs to root.
 */
#ifndef LX_IMAGES_TREE_H
#define LX_IMAGES_TREE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

int lx_tree_dir(int root, const char *path, mode_t mode, struct lx_err *err);
int lx_tree_file(int root, const char *path, mode_t mode, const void *data, size_t len, struct lx_err *err);
int lx_tree_text(int root, const char *path, mode_t mode, const char *text, struct lx_err *err);
int lx_tree_link(int root, const char *path, const char *target, struct lx_err *err);
/* Both are content with what is not there. */
int lx_tree_remove(int root, const char *path, struct lx_err *err);
int lx_tree_empty(int root, const char *dir, struct lx_err *err);
/* Nothing in the tree shall be newer than `epoch` (seconds), the root itself included. */
int lx_tree_clamp_times(int root, int64_t epoch, struct lx_err *err);

#endif
