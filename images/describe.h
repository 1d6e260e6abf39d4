/*
 * From a tree in a stage to the Image message: reads metadata.yaml and looks what the root
 * file system begins with.
 */
#ifndef LX_IMAGES_DESCRIBE_H
#define LX_IMAGES_DESCRIBE_H

#include "images/metadata.h"
#include "lib/err.h"
#include "lxmgr/v1/image.pb-c.h"

/* The property that says what process 1 is: "systemd", "busybox"; unset for others. */
#define LX_PROPERTY_INIT "init"
/* How many device nodes were left out when the image was unpacked. */
#define LX_PROPERTY_SKIPPED "skipped_devices"

/*
 * LX_INVALID_ARGUMENT when `dir` (a stage) has no usable metadata.yaml or no root file
 * system, LX_FAILED_PRECONDITION when it is for another architecture than this node's.
 * Fingerprint, sizes and source are the caller's to set. Free with lx_pb_free().
 */
int lx_image_describe(int dir, Lxmgr__V1__Image **ret, struct lx_err *err);

/* Sets or replaces a property of the message, and the field that shows it (os, release ...). */
int lx_image_set_property(Lxmgr__V1__Image *image, const char *key, const char *value, struct lx_err *err);

#endif
