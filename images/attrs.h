/*
 * Owner, mode, times and extended attributes: from an archive's entry onto a file, and
 * from a file into an entry. One list says which extended attributes travel.
 */
#ifndef LX_IMAGES_ATTRS_H
#define LX_IMAGES_ATTRS_H

#include <stdbool.h>
#include <time.h>

#include <archive_entry.h>

#include "images/ids.h"
#include "lib/err.h"

/* LX_INVALID_ARGUMENT for owners a container does not have. */
int lx_attrs_check_owner(struct archive_entry *entry, const char *path, struct lx_err *err);

/*
 * Owner, mode, extended attributes and access list, in the order in which none undoes the
 * other. `fd` is the open file or directory; for anything else it is -1 and `name` in
 * `dir` says which. The time of change comes after the content, with lx_attrs_set_mtime().
 * A directory's default access list is not set: it would be inherited by what is made in
 * the directory, so lx_attrs_set_default_acl() does it when all is there.
 */
int lx_attrs_apply(struct archive_entry *entry, int dir, const char *name, int fd, const char *path,
		   struct lx_err *err);
/* `ids` for lists that name instead of number; may be NULL. */
int lx_attrs_set_access_acl(struct archive_entry *entry, const struct lx_ids *ids, int fd, const char *path,
			    struct lx_err *err);
int lx_attrs_set_default_acl(struct archive_entry *entry, const struct lx_ids *ids, int fd, const char *path,
			     struct lx_err *err);
/* The time of change; UTIME_OMIT when the archive does not say. */
struct timespec lx_attrs_mtime(struct archive_entry *entry);
int lx_attrs_set_mtime(struct timespec mtime, int dir, const char *name, int fd, const char *path,
		       struct lx_err *err);

/* Adds the extended attributes and access lists of an open file or directory to the entry. */
int lx_attrs_collect(int fd, bool is_dir, struct archive_entry *entry, const char *path, struct lx_err *err);

#endif
