/*
 * Having a copy take no room of its own, where the file system can (btrfs, xfs): what is equal is made the
 * same blocks, and is parted again by who writes to one of them.
 */
#ifndef LX_WORKER_SNAPSHOT_SHARE_H
#define LX_WORKER_SNAPSHOT_SHARE_H

/*
 * Of the files below the directory `copy`, those that are also below `from`, under the same names. The
 * kernel compares before it does it: so either side may change meanwhile, and nothing that fails matters.
 */
void lx_tree_share(int from, const char *copy);

#endif
