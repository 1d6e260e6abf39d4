/*
 * Packing an image into a tarball as everybody publishes them: metadata.yaml, templates/,
 * rootfs/. The same tree always gives the same bytes: names sorted, nothing in it of the
 * file system it lies on. So the SHA-256 of the uncompressed form names a tree.
 */
#ifndef LX_IMAGES_PACK_H
#define LX_IMAGES_PACK_H

#include <stdint.h>

#include "images/progress.h"
#include "images/ref.h"
#include "lib/err.h"

enum lx_compression { LX_COMPRESS_ZSTD, LX_COMPRESS_GZIP, LX_COMPRESS_XZ, LX_COMPRESS_NONE };

/* "zstd" (also ""), "gzip", "xz", "none". LX_INVALID_ARGUMENT with what there is as hint. */
int lx_compression_parse(const char *name, enum lx_compression *ret, struct lx_err *err);

/* Writes the image in `dir` to `fd`. `total` is for the progress: bytes of content, 0: not known. */
int lx_pack(int dir, enum lx_compression compression, int fd, uint64_t total,
	    const struct lx_progress *progress, struct lx_err *err);

/* Where packed bytes go. 0, or a negative errno with err filled. */
struct lx_pack_sink {
	int (*write)(void *arg, const void *data, size_t len, struct lx_err *err);
	void *arg;
};

/*
 * The same for another node: compressed as suits a network, and `ret` is the SHA-256 of what
 * was packed before it was compressed: what lx_pack_fingerprint() says of an equal tree.
 */
int lx_pack_send(int dir, const struct lx_pack_sink *sink, const struct lx_progress *progress,
		 char ret[LX_FINGERPRINT_LEN + 1], struct lx_err *err);

/*
 * The SHA-256 of what lx_pack() would write with LX_COMPRESS_NONE, and how many bytes of
 * content there are.
 */
int lx_pack_fingerprint(int dir, const struct lx_progress *progress, char ret[LX_FINGERPRINT_LEN + 1],
			uint64_t *ret_bytes, struct lx_err *err);

#endif
