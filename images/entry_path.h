/*
 * Names of entries in somebody else's archive, made safe to walk. Pure: what a name may
 * say is decided here; that it is not led astray by links is the kernel's part (see
 * unpack.c).
 */
#ifndef LX_IMAGES_ENTRY_PATH_H
#define LX_IMAGES_ENTRY_PATH_H

#include <stddef.h>

#include "lib/err.h"

#define LX_ENTRY_PATH_MAX  4096 /* with the NUL: the kernel's own limit */
#define LX_ENTRY_NAME_MAX  255
#define LX_ENTRY_DEPTH_MAX 128 /* components; real trees stay below 40 */

/*
 * Writes the name without "." components, doubled and trailing slashes; "" is the root.
 * LX_INVALID_ARGUMENT for absolute names, "..", and what is too long or too deep.
 */
int lx_entry_path(const char *name, char out[LX_ENTRY_PATH_MAX], struct lx_err *err);
/* The same for names that may have up to `depth_max` components. */
int lx_entry_path_within(const char *name, size_t depth_max, char out[LX_ENTRY_PATH_MAX], struct lx_err *err);

#endif
