/* An entry of the tree as it travels: what is allowed in it, and its part of the digest. */
#ifndef LX_MIGRATION_TREE_ENTRY_H
#define LX_MIGRATION_TREE_ENTRY_H

#include <stdbool.h>
#include <sys/stat.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lxmgr/v1/migration.pb-c.h"
#include "migration/tree_blocks.h"

/* Longest target of a symbolic link; value of one extended attribute; all those of an entry. */
#define LX_TREE_TARGET_MAX 4095u
#define LX_TREE_XATTR_MAX  (64u * 1024)
#define LX_TREE_XATTRS_MAX (1024u * 1024)

/* Relative, without empty, "." or ".." components, and not too long. "" is fine. */
bool lx_tree_path_ok(const char *path);

/* overlayfs' mark that something of the image was removed. */
static inline bool lx_tree_is_whiteout(mode_t mode, uint64_t rdev)
{
	return S_ISCHR(mode) && rdev == 0;
}

/* Everything a receiver relies on but what it has itself. INVALID_ARGUMENT. */
int lx_tree_entry_check(const Lxmgr__V1__TreeEntry *e, struct lx_err *err);

/*
 * Its part of the digest: of its path and either what it is a further name of, or of
 * everything else but atime; without its content. `scratch` is overwritten. 0 or -ENOMEM.
 */
int lx_tree_entry_hash(const Lxmgr__V1__TreeEntry *e, struct lx_buf *scratch, struct lx_tree_hash *ret);
/* Both together. */
struct lx_tree_hash lx_tree_whole_hash(struct lx_tree_hash entry, struct lx_tree_hash content);

#endif
