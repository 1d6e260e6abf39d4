/*
 * The inside of the receiver.
 *
 *   tree_receive.c          frames: what is right now, what is removed, the end
 *   tree_receive_make.c     making an entry, its owner, mode, attributes and times
 *   tree_receive_content.c  writing the content of a file
 */
#ifndef LX_MIGRATION_TREE_RECEIVE_H
#define LX_MIGRATION_TREE_RECEIVE_H

#include "lib/buf.h"
#include "migration/tree.h"
#include "migration/tree_entry.h"
#include "migration/tree_map.h"

/* The file whose content comes now. */
struct lx_tree_incoming {
	Lxmgr__V1__TreeEntry *entry; /* NULL: none */
	uint32_t id;
	int fd;
	uint64_t offset;           /* content before it is settled */
	struct lx_tree_blocks now; /* of that content */
	size_t at_old;             /* of the node's blocks, those behind it are untouched */
};

struct lx_tree_receiver {
	int dir; /* its own */
	struct lx_tree_map map;
	struct lx_tree_incoming file;
	uint64_t bytes;
	/* Directory of the last entry: most of them follow one another. */
	uint32_t parent;
	int parent_fd;
	uint32_t *touched; /* directories that are LX_TREE_TOUCHED, or were */
	size_t n_touched, cap_touched;
	struct lx_buf scratch;
	char path[LX_TREE_PATH_MAX];
	uint8_t *block; /* LX_TREE_BLOCK */
};

/* ------------------------------------------------------------------ tree_receive.c */

/* A descriptor (O_PATH) of the directory that node `id` is in; stays the receiver's. Negative errno. */
int lx_tree_receive_parent(struct lx_tree_receiver *r, uint32_t id, struct lx_err *err);
/* Its times must be set at the end of the pass. */
int lx_tree_receive_touch(struct lx_tree_receiver *r, uint32_t dir, struct lx_err *err);
/* Removes what is there under the name of this node and below it; the node stays, those below are forgotten.
 */
int lx_tree_receive_clear(struct lx_tree_receiver *r, uint32_t id, struct lx_err *err);

/* ------------------------------------------------------------------ tree_receive_make.c */

/* Of node `id`; `was` is what the map says was there. A regular file is left open: r->file. */
int lx_tree_receive_make(struct lx_tree_receiver *r, uint32_t id, const Lxmgr__V1__TreeEntry *e,
			 struct lx_err *err);
int lx_tree_receive_link(struct lx_tree_receiver *r, uint32_t id, uint32_t to, const Lxmgr__V1__TreeEntry *e,
			 struct lx_err *err);
/* Owner, attributes, mode, times. `fd` may be O_PATH. */
int lx_tree_receive_dress(int fd, const Lxmgr__V1__TreeEntry *e, struct lx_err *err);
int lx_tree_receive_times(int fd, int64_t atime_ns, int64_t mtime_ns);

/* ------------------------------------------------------------------ tree_receive_content.c */

int lx_tree_receive_data(struct lx_tree_receiver *r, const Lxmgr__V1__TreeData *d, struct lx_err *err);
/* What was open is complete: settled, dressed and closed. Fine when there is none. */
int lx_tree_receive_finish(struct lx_tree_receiver *r, struct lx_err *err);
void lx_tree_receive_drop(struct lx_tree_incoming *file);

#endif
