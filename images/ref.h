/*
 * What people call images: aliases, fingerprints and the beginnings of fingerprints.
 * Pure: nothing here touches a file. Used by the manager, which knows the aliases.
 */
#ifndef LX_IMAGES_REF_H
#define LX_IMAGES_REF_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"
#include "lxmgr/v1/image.pb-c.h"

#define LX_ALIAS_MAX              128
#define LX_FINGERPRINT_LEN        64 /* hex digits of a SHA-256 */
#define LX_FINGERPRINT_PREFIX_MIN 8
#define LX_FINGERPRINT_SHORT      12 /* digits shown to people */

/*
 * Letters, digits and . _ - /, 1 to LX_ALIAS_MAX of them, no slash at either end or twice
 * in a row, no ".." component, and not to be confused with a fingerprint's beginning.
 */
int lx_alias_check(const char *alias, struct lx_err *err);

/* A whole fingerprint: 64 lower-case hex digits. */
bool lx_fingerprint_valid(const char *s);
/* The beginning of one (or all of it), long enough to be taken for an image. */
bool lx_fingerprint_prefix_valid(const char *s);

/*
 * Which image `ref` means: its alias, else the fingerprint that begins with it. *ret is
 * borrowed from `images`. LX_NOT_FOUND with the nearest alias or the way to build it as
 * hint, LX_INVALID_ARGUMENT for what can be no name, LX_FAILED_PRECONDITION when several
 * fingerprints begin with it.
 */
int lx_image_resolve(const char *ref, Lxmgr__V1__Image *const *images, size_t n, const Lxmgr__V1__Image **ret,
		     struct lx_err *err);

/*
 * Does the image fit a filter of `lxmgr image list`? "key=value" looks at a field (os,
 * release, architecture, variant, description, fingerprint, alias, source) or else a
 * property; anything else is a part of an alias or the beginning of a fingerprint.
 * Values and names may hold * ? [...].
 */
bool lx_image_matches(const Lxmgr__V1__Image *image, const char *filter);

#endif
