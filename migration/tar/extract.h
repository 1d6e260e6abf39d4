/*
 * Making the things in an archive, below a directory and never beside it: names that lead out ("..",
 * absolute ones) and ways through symbolic links are refused.
 *
 * Owners are numbers. Modes are set whatever the umask, and times, also those of directories, when all is
 * there. What has the name of something that is not a directory takes its place. Content is written where
 * it is, so that holes stay holes. Device nodes are made if the kernel allows it to the caller.
 */
#ifndef LX_MIGRATION_TAR_EXTRACT_H
#define LX_MIGRATION_TAR_EXTRACT_H

#include "lib/err.h"
#include "migration/tar/read.h"

/* All of it. After a failure a part is there. */
int lx_tarball_extract(struct lx_tarball_reader *from, int dirfd, struct lx_err *err);

/* The same from a file that is gzip's. */
int lx_tarball_extract_gzip(int fd, int dirfd, struct lx_err *err);

#endif
