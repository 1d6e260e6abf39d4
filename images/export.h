/* Sending an image out as one tarball. */
#ifndef LX_IMAGES_EXPORT_H
#define LX_IMAGES_EXPORT_H

#include "images/progress.h"
#include "lib/err.h"

/*
 * Writes the image to `fd` as it is being packed. Imported again, it gives the same tree.
 * `compression` as lx_compression_parse(). LX_NOT_FOUND when the node does not have it.
 */
int lx_image_export(const char *state_dir, const char *fingerprint, const char *compression, int fd,
		    const struct lx_progress *progress, struct lx_err *err);

#endif
