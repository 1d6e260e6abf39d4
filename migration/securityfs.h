/*
 * The file system of security modules among a guest's mounts: bound there for a guest that loads AppArmor
 * profiles of its own (profiles/apparmor_namespace.h). It is the node's, so CRIU neither dumps nor makes
 * it: it is told at the dump that the mount is somebody else's, and at the restore where that node has it.
 * What the guest has loaded CRIU brings by itself. Nothing here does I/O.
 */
#ifndef LX_MIGRATION_SECURITYFS_H
#define LX_MIGRATION_SECURITYFS_H

#include <stdbool.h>

#include "lib/buf.h"
#include "migration/mounts.h"

/* Does init see the whole of it in its place? */
bool lx_securityfs_mounted(const struct lx_mounts *init);

/* What CRIU is told at a dump, where it is mounted: the value of --external. */
extern const char lx_securityfs_dumped[];
/* For a restore (migration/criu.h), a line each; for a guest that has none it does no harm. */
int lx_securityfs_restore_options(struct lx_buf *out, struct lx_err *err);

#endif
