/* XXH3, compiled in from its header: nothing to link. */
#include "migration/tree_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t lx_tree_hash64(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}

struct lx_tree_hash lx_tree_hash128(const void *data, size_t len)
{
	XXH128_hash_t h = XXH3_128bits(data, len);

	return (struct lx_tree_hash){ .lo = h.low64, .hi = h.high64 };
}
