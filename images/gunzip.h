/*
 * Decompressing gzip and believing its checksums: libarchive's own reader of the format
 * does not look at them, so a flipped bit would go into an image unnoticed.
 */
#ifndef LX_IMAGES_GUNZIP_H
#define LX_IMAGES_GUNZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LX_GUNZIP_CHUNK (256 * 1024)

struct lx_gunzip;

/* Gives the next compressed bytes, valid until the next call: their number, 0 at the end, negative: failed.
 */
typedef ptrdiff_t (*lx_gunzip_read_fn)(void *arg, const void **data);

/* Do these first bytes begin a gzip stream? */
bool lx_gunzip_is(const void *data, size_t len);

/* NULL when out of memory. */
struct lx_gunzip *lx_gunzip_new(lx_gunzip_read_fn read, void *arg);
void lx_gunzip_free(struct lx_gunzip *g);

/*
 * The number of decompressed bytes in *data (valid until the next call), 0 at the end, or
 * -1. Then *why says what is wrong with the stream; NULL: reading failed.
 */
ptrdiff_t lx_gunzip_next(struct lx_gunzip *g, const void **data, const char **why);

#endif
