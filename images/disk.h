/* How much room the disk has. */
#ifndef LX_IMAGES_DISK_H
#define LX_IMAGES_DISK_H

#include <stdint.h>

#include "lib/err.h"

/* What images must leave free for everybody else. */
#define LX_DISK_RESERVE       (UINT64_C(64) << 20)
#define LX_DISK_INODE_RESERVE 1000

/* LX_RESOURCE_EXHAUSTED when the file system has less than `bytes` free beyond the reserve. */
int lx_disk_check(int dirfd, uint64_t bytes, struct lx_err *err);

#endif
