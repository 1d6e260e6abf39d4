/*
 * An archive of all that is in a directory, as `tar --create --gzip --one-file-system --sparse
 * --numeric-owner .` makes one, and more exact in times.
 *
 * What is mounted below is there as an empty directory. Further names of a file are hard links; if one lies
 * outside, that is said on standard error, and all goes on. Sockets are left out, and extended attributes.
 */
#ifndef LX_MIGRATION_TAR_CREATE_H
#define LX_MIGRATION_TAR_CREATE_H

#include "lib/err.h"

/* Writes it to `fd`, compressed by gzip. After a failure a part has been written. */
int lx_tarball_create(int dirfd, int fd, struct lx_err *err);

#endif
