/*
 * The inside of the sender.
 *
 *   tree_send.c          one pass: the walk, what vanished, the end
 *   tree_send_node.c     one entry: has it changed? its metadata
 *   tree_send_content.c  the content of a file, block by block
 *   tree_send_links.c    files with several names
 *   tree_send_hidden.c   names of the image that lead to a changed file
 *   tree_send_mapped.c   which files are mapped
 */
#ifndef LX_MIGRATION_TREE_SEND_H
#define LX_MIGRATION_TREE_SEND_H

#include <sys/stat.h>

#include "lib/buf.h"
#include "lib/map.h"
#include "migration/tree.h"
#include "migration/tree_image.h"
#include "migration/tree_map.h"
#include "migration/tree_xattr.h"

/* A set of numbers; small, or filled once. */
struct lx_tree_set {
	uint64_t *v;
	size_t n, cap;
};

void lx_tree_set_release(struct lx_tree_set *s);
int lx_tree_set_add(struct lx_tree_set *s, uint64_t value);
bool lx_tree_set_has(const struct lx_tree_set *s, uint64_t value);

/* A name, met in this pass, of an inode that has several. */
struct lx_tree_name {
	uint64_t ino;
	uint32_t id;
	bool primary; /* the one that was sent with the content */
};

struct lx_tree_sender {
	struct lx_tree_source source;
	int upper; /* its own */
	struct lx_move_out out;
	struct lx_tree_map map;
	struct lx_tree_stats stats;
	struct lx_tree_set mapped_inodes, mapped_sizes;

	/* this pass */
	uint16_t pass;
	bool last;
	int64_t racy_ns; /* changed since: look again */
	struct lx_tree_name *names;
	size_t n_names, cap_names;

	/* tree_send_hidden.c */
	bool redirects;
	bool image_read;
	struct lx_tree_image image;
	struct lx_map index;     /* name -> inode of the image with several names, as a pointer; or NULL */
	struct lx_tree_set made; /* nodes that are or were LX_TREE_MADE */

	/* of one entry at a time */
	struct lx_tree_xattrs xattrs;
	struct lx_buf scratch;
	char path[LX_TREE_PATH_MAX];
	char target[LX_TREE_PATH_MAX];
	uint8_t *chunk; /* LX_MOVE_CHUNK */
};

/* What became of an entry. */
enum lx_tree_sent {
	LX_TREE_SAME,    /* nothing was to be sent */
	LX_TREE_UPDATED, /* the receiver's inode was changed */
	LX_TREE_ANEW,    /* the receiver has a new inode under this name */
	LX_TREE_GONE,    /* it vanished or became something else: only before the last pass */
};

/* ------------------------------------------------------------------ tree_send.c */

int lx_tree_send_frame_entry(struct lx_tree_sender *s, Lxmgr__V1__TreeEntry *e, struct lx_err *err);
int lx_tree_send_frame_data(struct lx_tree_sender *s, uint64_t offset, uint8_t *data, size_t len,
			    struct lx_err *err);
/* Something of this pass was not as it had been a moment before: LX_TREE_GONE, or in the last pass an error.
 */
int lx_tree_send_gone(struct lx_tree_sender *s, const char *path, struct lx_err *err);
/* Sends the removal of a node the receiver knows, and forgets it. */
int lx_tree_send_remove(struct lx_tree_sender *s, uint32_t id, struct lx_err *err);
/* s->path = that of the node. */
int lx_tree_send_path(struct lx_tree_sender *s, uint32_t id, struct lx_err *err);

/* ------------------------------------------------------------------ tree_send_node.c */

/*
 * The entry `name` of `dirfd`, whose inode looked like `st`, is node `id` with path s->path.
 * `shift` is added to its owners. Returns enum lx_tree_sent or a negative errno.
 */
int lx_tree_send_node(struct lx_tree_sender *s, uint32_t id, int dirfd, const char *name,
		      const struct stat *st, uint32_t shift, struct lx_err *err);
/* A directory that is open. */
int lx_tree_send_dir(struct lx_tree_sender *s, uint32_t id, int fd, const struct stat *st, uint32_t shift,
		     struct lx_err *err);
/* Node `id` with path s->path is a further name of `primary`. */
int lx_tree_send_link(struct lx_tree_sender *s, uint32_t id, uint32_t primary, bool anew, struct lx_err *err);

/* ------------------------------------------------------------------ tree_send_content.c */

/*
 * Sends of the open file `fd` (`e` describes it) what differs from `old`; of a new one the entry
 * goes first in any case, else when the first difference is found: *announced says so.
 */
int lx_tree_send_content(struct lx_tree_sender *s, int fd, Lxmgr__V1__TreeEntry *e,
			 const struct lx_tree_block *old, size_t n_old, struct lx_tree_blocks *now,
			 bool *announced, struct lx_err *err);

/* ------------------------------------------------------------------ the rest */

/* Remembers a name for later in this pass. */
int lx_tree_send_later(struct lx_tree_sender *s, uint32_t id, uint64_t ino, struct lx_err *err);
int lx_tree_send_links(struct lx_tree_sender *s, struct lx_err *err);
/* Node under which this inode of the upper directory was sent; LX_TREE_NONE. After the above. */
uint32_t lx_tree_send_primary(const struct lx_tree_sender *s, uint64_t ino);

int lx_tree_send_hidden(struct lx_tree_sender *s, struct lx_err *err);
void lx_tree_send_hidden_release(struct lx_tree_sender *s);

#endif
