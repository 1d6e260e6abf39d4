/* Making an image from a distribution's packages, or from the node's own busybox. */
#ifndef LX_IMAGES_BUILD_H
#define LX_IMAGES_BUILD_H

#include "images/progress.h"
#include "lib/err.h"
#include "lxmgr/v1/image.pb-c.h"

/* Packages added to a template in one request, and their names' length. */
#define LX_BUILD_MAX_PACKAGES 256
#define LX_BUILD_MAX_NAME     128
#define LX_BUILD_MAX_MIRROR   512

/*
 * Builds what request->template names (see template.h) into the store. The fingerprint is
 * that of the tree (lx_pack_fingerprint()): built twice from the same packages on the same
 * day it is the same image. *ret is freed with lx_pb_free().
 */
int lx_image_build(const char *state_dir, const Lxmgr__V1__BuildImageRequest *request,
		   const struct lx_progress *progress, Lxmgr__V1__Image **ret, struct lx_err *err);

#endif
