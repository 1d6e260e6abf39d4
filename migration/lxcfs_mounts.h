/*
 * The files of lxcfs among a guest's mounts. They are the node's, so CRIU neither dumps nor makes
 * them: it is told at the dump which mounts are somebody else's, by the names of profiles/lxcfs.h,
 * and at the restore what stands for each name on that node. Nothing here does I/O.
 */
#ifndef LX_MIGRATION_LXCFS_MOUNTS_H
#define LX_MIGRATION_LXCFS_MOUNTS_H

#include <stdbool.h>

#include "lib/buf.h"
#include "migration/mounts.h"
#include "profiles/lxcfs.h"

/*
 * Which of them init sees: of lxcfs, or of a node's own /proc and /sys, which stand for those that a
 * node before had and this one has not.
 */
lx_lxcfs_set lx_lxcfs_mounted(const struct lx_mounts *init);
/* Is this mount, of init's or of a service's, one of those that init sees, wherever it is mounted? */
bool lx_mount_is_lxcfs(const struct lx_mount *m, const struct lx_mounts *init);

/*
 * Whether all files of lxcfs in this table are of the one that `serves` as this file system. Others are
 * of one that has ended: whoever opens them, or has them open, gets an error.
 */
bool lx_lxcfs_is_whole(const struct lx_mounts *t, bool serves, unsigned int major, unsigned int minor);

/*
 * For a restore (migration/criu.h), a line each: all the names there are, for what comes is not
 * known beforehand. Those in `have` are below `dir`, the others are the node's own files.
 */
int lx_lxcfs_restore_options(const char *dir, lx_lxcfs_set have, struct lx_buf *out, struct lx_err *err);

#endif
