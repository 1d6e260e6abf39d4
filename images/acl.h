/*
 * POSIX access control lists: between libarchive's entries (how tar carries them) and the
 * kernel's extended attributes. Nothing but memory is touched.
 */
#ifndef LX_IMAGES_ACL_H
#define LX_IMAGES_ACL_H

#include <stdbool.h>
#include <stddef.h>

#include <archive_entry.h>

#include "images/ids.h"
#include "lib/buf.h"

#define LX_ACL_ACCESS_XATTR  "system.posix_acl_access"
#define LX_ACL_DEFAULT_XATTR "system.posix_acl_default"
#define LX_ACL_MAX_ENTRIES   1024

/*
 * Appends the attribute's value; appends nothing when the entry has no list of that type
 * (ARCHIVE_ENTRY_ACL_TYPE_ACCESS or _DEFAULT). Who is named without a number is looked up
 * in `ids` and left out when not found there (or `ids` is NULL). 0, -ENOMEM, -E2BIG, or
 * -EINVAL for ids out of range.
 */
int lx_acl_to_xattr(struct archive_entry *entry, int type, const struct lx_ids *ids, struct lx_buf *out);
/* Is anybody named without a number? */
bool lx_acl_has_names(struct archive_entry *entry);
/* The way back. -EINVAL when the value is none that a kernel writes. */
int lx_acl_from_xattr(struct archive_entry *entry, int type, const void *value, size_t len);

#endif
