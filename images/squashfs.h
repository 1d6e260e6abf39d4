/* Root file systems that come as squashfs. */
#ifndef LX_IMAGES_SQUASHFS_H
#define LX_IMAGES_SQUASHFS_H

#include <stdbool.h>
#include <stdint.h>

#include "images/progress.h"
#include "images/unpack.h"
#include "lib/err.h"

/* Does a file that begins with these 4 bytes claim to be one? */
#define LX_SQUASHFS_MAGIC "hsqs"

/* As lx_unpack(), from the squashfs image behind `fd` of `size` bytes. */
int lx_squashfs_unpack(int fd, uint64_t size, int dirfd, const struct lx_progress *progress,
		       struct lx_unpacked *ret, struct lx_err *err);

#endif
