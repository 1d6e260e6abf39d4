/*
 * Extended attributes: which travel, reading them, making a file have exactly these.
 *
 * user.*, trusted.*, security.capability and POSIX ACLs travel. Labels of SELinux and Smack, of
 * IMA and EVM belong to the policy of their node; properties of btrfs to its file system. Of
 * overlayfs' own only those that mean something over another copy of the image.
 */
#ifndef LX_MIGRATION_TREE_XATTR_H
#define LX_MIGRATION_TREE_XATTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lxmgr/v1/migration.pb-c.h"

#define LX_TREE_XATTR_OPAQUE   "trusted.overlay.opaque"
#define LX_TREE_XATTR_REDIRECT "trusted.overlay.redirect"

bool lx_tree_xattr_travels(const char *name);

/* {0} is empty; used again and again for one entry after the other. */
struct lx_tree_xattrs {
	Lxmgr__V1__TreeXattr **v; /* for TreeEntry.xattrs: ascending by name, valid until the next read */
	size_t n;
	/* private */
	Lxmgr__V1__TreeXattr *items;
	size_t cap;
	struct lx_buf names, values;
};

void lx_tree_xattrs_release(struct lx_tree_xattrs *x);
/*
 * Those of `fd`, which may be O_PATH. Negative errno without a message: -E2BIG when they are
 * more or larger than can be carried.
 */
int lx_tree_xattrs_read(int fd, struct lx_tree_xattrs *x);
/* Adds to the ids that ACLs name, as far as they are well-formed. */
void lx_tree_xattrs_shift(struct lx_tree_xattrs *x, uint32_t shift);
/* `fd` (O_PATH is fine) has exactly those of `e` afterwards, of those that travel. Negative errno, no
 * message. */
int lx_tree_xattrs_apply(int fd, const Lxmgr__V1__TreeEntry *e);
/* NULL when it has none of that name. */
const Lxmgr__V1__TreeXattr *lx_tree_xattrs_get(const struct lx_tree_xattrs *x, const char *name);

#endif
