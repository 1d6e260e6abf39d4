/*
 * A directory that names from an archive cannot lead out of. Every directory on the way
 * is opened by the kernel with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
 * RESOLVE_NO_XDEV), so that links an archive has planted are refused, not followed.
 * Paths given here have gone through lx_entry_path().
 */
#ifndef LX_IMAGES_JAIL_H
#define LX_IMAGES_JAIL_H

#include "images/entry_path.h"
#include "lib/err.h"

struct lx_jail {
	int root; /* borrowed */
	/* The parent directory used last: archives come directory by directory. */
	int fd;
	char path[LX_ENTRY_PATH_MAX];
};

void lx_jail_init(struct lx_jail *j, int root);
void lx_jail_release(struct lx_jail *j);

/*
 * The directory `path` lies in, made (mode 0755) where it is missing; borrowed, valid until
 * the next call. *ret_name is the last component within `path`. The root ("") has no parent.
 */
int lx_jail_parent(struct lx_jail *j, const char *path, const char **ret_name, struct lx_err *err);
/* Opens what is there without following any link; a descriptor of the caller's own, or
 * negative errno (quietly). "" is the root. */
int lx_jail_open(const struct lx_jail *j, const char *path, int flags);
/* A directory was removed or replaced: do not use a remembered one. */
void lx_jail_forget(struct lx_jail *j);

#endif
