/*
 * Copying a tree on this node: what carries files between nodes (migration/tree.h), with both ends here.
 * So a copy is what a move would bring: attributes of overlayfs that belong to one pair of directories
 * are left out, and it can be laid over the same image anywhere.
 */
#ifndef LX_WORKER_SNAPSHOT_COPY_H
#define LX_WORKER_SNAPSHOT_COPY_H

#include "migration/tree.h"

struct lx_tree_copy {
	struct lx_tree_sender *from;
	struct lx_tree_receiver *to;
	int dir;          /* to be filled; the caller's */
	uint64_t room;    /* bytes that the disk had at the beginning of the pass ... */
	uint64_t written; /* ... and that were written since */
	uint64_t look_at; /* at so many written the disk is looked at again */
	bool last;        /* the end of the last pass has come */
	uint8_t digest[64];
	size_t digest_len;
};

/* Directories stay the caller's, and must outlive it. Released by the caller in any case. */
int lx_tree_copy_open(struct lx_tree_copy *c, const struct lx_tree_source *source, int dir,
		      struct lx_err *err);
/*
 * One pass. RESOURCE_EXHAUSTED when it would take the last of the disk, which is the node's and its other
 * instances'. Of the last one nothing is on disk yet when this returns: what stood still for it need not
 * wait for that, but for lx_tree_copy_end().
 */
int lx_tree_copy_pass(struct lx_tree_copy *c, bool last, struct lx_err *err);
/* All is compared and on disk. */
int lx_tree_copy_end(struct lx_tree_copy *c, struct lx_err *err);
void lx_tree_copy_release(struct lx_tree_copy *c);

#endif
