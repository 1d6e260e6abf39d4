/*
 * CRIU's images of threads (criu_image.proto): the label of the security module that a restore gives to
 * each, word for word where it is told no other. A dump comes from another node: what it says is
 * looked at before. Pure.
 */
#ifndef LX_MIGRATION_CORE_IMAGE_H
#define LX_MIGRATION_CORE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

/* The most that is read of one: registers, names, signals. */
#define LX_CORE_IMAGE_MAX (1024u * 1024)

/* "core-412.img" */
bool lx_core_image_is(const char *name);

/*
 * Whether the label begins so and goes on. -EBADMSG: it is no such image, or a damaged one; -EPERM: it has
 * another label, or none.
 */
int lx_core_image_label(const void *data, size_t len, const char *begin, struct lx_err *err);

#endif
