/*
 * What is remembered of a file's content: a hash for each block that is not all zeros.
 *
 * A block is hashed as if it were whole: what lies behind the end of the file counts as zeros.
 * So a block of zeros and a hole are the same, and cutting a file or letting it grow changes
 * no hash but that of a block whose bytes did change.
 */
#ifndef LX_MIGRATION_TREE_BLOCKS_H
#define LX_MIGRATION_TREE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/tree_hash.h"

/* The unit in which changes are found: a page of most databases, 1/2000 of the content in memory. */
#define LX_TREE_BLOCK (16u * 1024)
/* The unit in which holes are kept. */
#define LX_TREE_PAGE 4096u

struct lx_tree_block {
	uint64_t index; /* offset / LX_TREE_BLOCK */
	uint64_t hash;
};

/* Ascending by index. {0} is empty. */
struct lx_tree_blocks {
	struct lx_tree_block *v;
	size_t n, cap;
};

void lx_tree_blocks_release(struct lx_tree_blocks *b);
/* 0 or -ENOMEM. */
int lx_tree_blocks_add(struct lx_tree_blocks *b, uint64_t index, uint64_t hash);

bool lx_tree_is_zero(const void *data, size_t len);
/* Of a whole block. */
uint64_t lx_tree_block_hash(const void *data);
/* Of a whole content. */
struct lx_tree_hash lx_tree_content_hash(const struct lx_tree_block *v, size_t n);

#endif
