/*
 * The hashes of tree moves: XXH3, which runs at the speed of memory and is no cipher. They tell
 * a change or a mistake from none; who may write both sides of a comparison can make them
 * agree, and deceives nobody but himself: what is compared is a guest's own files.
 */
#ifndef LX_MIGRATION_TREE_HASH_H
#define LX_MIGRATION_TREE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct lx_tree_hash {
	uint64_t lo, hi;
};

/* `seed`: a random one where a guest must not choose what collides (hash tables). */
uint64_t lx_tree_hash64(const void *data, size_t len, uint64_t seed);
struct lx_tree_hash lx_tree_hash128(const void *data, size_t len);

#endif
