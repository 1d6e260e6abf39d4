#include "migration/tree_blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS_MIN 4

void lx_tree_blocks_release(struct lx_tree_blocks *b)
{
	free(b->v);
	*b = (struct lx_tree_blocks){ 0 };
}

int lx_tree_blocks_add(struct lx_tree_blocks *b, uint64_t index, uint64_t hash)
{
	if (b->n == b->cap) {
		size_t cap = b->cap ? b->cap * 2 : BLOCKS_MIN;
		struct lx_tree_block *grown = realloc(b->v, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		b->v = grown;
		b->cap = cap;
	}
	b->v[b->n++] = (struct lx_tree_block){ .index = index, .hash = hash };
	return 0;
}

bool lx_tree_is_zero(const void *data, size_t len)
{
	const char *p = data;

	/* The first byte, and then each equal to the one before it. */
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

uint64_t lx_tree_block_hash(const void *data)
{
	return lx_tree_hash64(data, LX_TREE_BLOCK, 0);
}

struct lx_tree_hash lx_tree_content_hash(const struct lx_tree_block *v, size_t n)
{
	return lx_tree_hash128(n ? (const void *)v : "", n * sizeof(*v));
}
