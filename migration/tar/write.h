/*
 * Writing an archive, compressed by gzip as it comes: ustar headers, with pax records for what has no room
 * in them (long names, times finer than a second, times of access, sparse files in version 1.0 of GNU tar's).
 */
#ifndef LX_MIGRATION_TAR_WRITE_H
#define LX_MIGRATION_TAR_WRITE_H

#include "lib/err.h"
#include "migration/tar/entry.h"

struct lx_tarball_writer;

/* `fd` is borrowed. 0 or -ENOMEM. */
int lx_tarball_writer_open(int fd, struct lx_tarball_writer **ret, struct lx_err *err);
void lx_tarball_writer_free(struct lx_tarball_writer *w);

/*
 * What an entry is. Its `stored` bytes follow by lx_tarball_write_data(), in as many calls as it takes, and
 * then lx_tarball_write_padding().
 */
int lx_tarball_write_entry(struct lx_tarball_writer *w, const struct lx_tarball_entry *e, struct lx_err *err);
int lx_tarball_write_data(struct lx_tarball_writer *w, const void *data, size_t len, struct lx_err *err);
int lx_tarball_write_padding(struct lx_tarball_writer *w, const struct lx_tarball_entry *e,
			     struct lx_err *err);

/* Ends the archive, when all is in it. */
int lx_tarball_write_end(struct lx_tarball_writer *w, struct lx_err *err);

#endif
