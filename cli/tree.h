/*
 * Writes a tree that a stranger sends, below one local name and nowhere else.
 *
 * Whatever the entries say, nothing outside the destination is created, changed or
 * followed: paths are walked component by component with O_NOFOLLOW, ".." and absolute
 * paths are refused, set-uid bits are dropped. A file appears whole or not at all.
 */
#ifndef LX_CLI_TREE_H
#define LX_CLI_TREE_H

#include "cli/cli.h"
#include "lxmgr/v1/stream.pb-c.h"

/* Limits on what comes. */
#define CLI_TREE_MAX_PATH    4095u
#define CLI_TREE_MAX_NAME    255u
#define CLI_TREE_MAX_ENTRIES 20000000u
#define CLI_TREE_MAX_DIRS    2000000u

struct cli_tree;

/*
 * The root entry (path "") becomes `name` in `directory`, which exists. `recursive`: it may
 * be a directory with entries below. `owners`: give files the owner they have there.
 */
int cli_tree_open(const char *directory, const char *name, bool recursive, bool owners, struct cli_tree **ret,
		  struct lx_err *err);
int cli_tree_entry(struct cli_tree *t, const Lxmgr__V1__FileEntry *e, struct lx_err *err);
/* Bytes of the last entry. */
int cli_tree_data(struct cli_tree *t, const void *data, size_t len, struct lx_err *err);
/* The stream ended well: checks that all has come, gives directories their modes and times. */
int cli_tree_finish(struct cli_tree *t, struct lx_err *err);
uint64_t cli_tree_bytes(const struct cli_tree *t);
/* Removes a file that is not whole. NULL is fine. */
void cli_tree_free(struct cli_tree *t);

/* Whether `path` stays below its root: relative, no empty, "." or ".." component. 0 or -EINVAL. */
int cli_tree_check_path(const char *path, struct lx_err *err);

#endif
