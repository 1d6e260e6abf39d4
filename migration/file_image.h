/*
 * CRIU's image of open files (criu_image.proto). A restore refuses a file whose size is not that of
 * the dump. Those of lxcfs have a size that is made up anew each time they are opened, and another
 * one on another node; so their size is taken out, and then nothing is compared. Pure.
 */
#ifndef LX_MIGRATION_FILE_IMAGE_H
#define LX_MIGRATION_FILE_IMAGE_H

#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"

/* Its name among the images, and the most that is read of it: a guest has fewer files open. */
#define LX_FILE_IMAGE     "files.img"
#define LX_FILE_IMAGE_MAX (256u * 1024 * 1024)

/*
 * The image without those sizes into `out`, which stays empty when there are none. -EBADMSG: it is
 * no such image, or a damaged one.
 */
int lx_file_image_unsize(const void *data, size_t len, struct lx_buf *out, struct lx_err *err);

#endif
