/*
 * What each side of a move knows of the other's tree: a node for every entry that was carried,
 * found by its directory and name, with its part of the digest.
 *
 * Made for millions of entries: a node is 72 bytes, its name lies in one common buffer, and
 * nodes are named by numbers that are never given twice. Pointers to nodes stay valid until the
 * map is released; a forgotten node is LX_TREE_FREE.
 */
#ifndef LX_MIGRATION_TREE_MAP_H
#define LX_MIGRATION_TREE_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "migration/tree.h"
#include "migration/tree_blocks.h"

#define LX_TREE_ROOT 0u
#define LX_TREE_NONE UINT32_MAX

enum {
	LX_TREE_FREE = 1 << 0,
	LX_TREE_KNOWN = 1 << 1, /* the receiver has it; counts in the digest */
	LX_TREE_DIR = 1 << 2,   /* what the receiver has: one of these, or neither */
	LX_TREE_REG = 1 << 3,
	LX_TREE_LINK = 1 << 4,      /* a further name of node `link` */
	LX_TREE_LINKED = 1 << 5,    /* has further names */
	LX_TREE_ONE_BLOCK = 1 << 6, /* only block 0, kept in `one_hash` */
	/* the sender's */
	LX_TREE_ENTER = 1 << 7,  /* a directory, to be visited in this pass */
	LX_TREE_OPAQUE = 1 << 8, /* a directory that hides those below it in the image */
	LX_TREE_MADE = 1 << 9,   /* is not in the upper directory: a name out of the image */
	/* the receiver's */
	LX_TREE_TOUCHED = 1 << 10, /* a directory whose times must be set once more */
};

struct lx_tree_node {
	struct lx_tree_hash hash;
	uint64_t stamp; /* sender: of the inode as it was carried, 0: look again; receiver: a directory's
			   mtime */
	uint64_t ino;   /* sender: the inode; receiver: a directory's atime */
	union {
		struct lx_tree_block *blocks;
		uint64_t one_hash;
		uint64_t link;
	};
	uint32_t n_blocks;
	uint32_t parent, child, next, prev; /* children are a list */
	uint32_t chain;                     /* private */
	uint32_t name;                      /* private */
	uint16_t pass;                      /* the sender's last that saw it */
	uint16_t flags;
};

#define LX_TREE_CHUNK_NODES 4096u

struct lx_tree_map {
	struct lx_tree_node **chunks;
	uint32_t n, live; /* numbers given; of them not forgotten */
	uint32_t *table;
	uint32_t table_size;
	struct lx_buf names;
	uint64_t seed;
	struct lx_tree_hash sum;
	uint64_t known;
};

/* With the root, which has no name and is never forgotten. */
int lx_tree_map_init(struct lx_tree_map *m, struct lx_err *err);
void lx_tree_map_release(struct lx_tree_map *m);

static inline struct lx_tree_node *lx_tree_map_node(const struct lx_tree_map *m, uint32_t id)
{
	return &m->chunks[id / LX_TREE_CHUNK_NODES][id % LX_TREE_CHUNK_NODES];
}

const char *lx_tree_map_name(const struct lx_tree_map *m, uint32_t id);
/* LX_TREE_NONE when there is none. */
uint32_t lx_tree_map_find(const struct lx_tree_map *m, uint32_t parent, const char *name, size_t len);
/* By a whole path, as in TreeEntry.path. */
uint32_t lx_tree_map_lookup(const struct lx_tree_map *m, const char *path);
/* Must not be there yet. */
int lx_tree_map_add(struct lx_tree_map *m, uint32_t parent, const char *name, size_t len, uint32_t *ret,
		    struct lx_err *err);
/* Length, or -ENAMETOOLONG. */
int lx_tree_map_path(const struct lx_tree_map *m, uint32_t id, char out[LX_TREE_PATH_MAX]);

/* From now on it counts, with this. */
void lx_tree_map_set_hash(struct lx_tree_map *m, uint32_t id, struct lx_tree_hash hash);
/* Takes them over (`b` is empty afterwards). 0, -ENOMEM, or -EFBIG. */
int lx_tree_map_set_blocks(struct lx_tree_map *m, uint32_t id, struct lx_tree_blocks *b);
/* It has no content of its own: a further name of `to`. */
void lx_tree_map_set_link(struct lx_tree_map *m, uint32_t id, uint32_t to);
/* `one` is room for a single one. Borrowed. */
const struct lx_tree_block *lx_tree_map_blocks(const struct lx_tree_node *node, struct lx_tree_block *one,
					       size_t *n);

/* It and all below it. The root: all below it. */
void lx_tree_map_forget(struct lx_tree_map *m, uint32_t id);
/* All below it. */
void lx_tree_map_forget_below(struct lx_tree_map *m, uint32_t id);

/* TreeEnd.digest: the sum of the hashes of all that count, and how many they are. */
#define LX_TREE_DIGEST_LEN 24
void lx_tree_map_digest(const struct lx_tree_map *m, uint8_t out[LX_TREE_DIGEST_LEN]);

#endif
