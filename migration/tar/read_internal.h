/* The reader's parts: headers and content (read.c), entries (read_entry.c), maps of holes (read_sparse.c). */
#ifndef LX_MIGRATION_TAR_READ_INTERNAL_H
#define LX_MIGRATION_TAR_READ_INTERNAL_H

#include "migration/tar/header.h"
#include "migration/tar/pax.h"
#include "migration/tar/read.h"

struct lx_tarball_reader {
	struct lx_tarball_source source;
	const uint8_t *at; /* within what the source gave last */
	size_t left;
	/* Of the entry. */
	uint64_t data_left;
	size_t padding; /* behind it */
	struct lx_tarball_entry entry;
	char name[sizeof(((struct lx_tarball_header *)0)->prefix) + 1 +
		  sizeof(((struct lx_tarball_header *)0)->name) + 1];
	char link[sizeof(((struct lx_tarball_header *)0)->link) + 1];
	/* What headers before it said of it: GNU's, and pax records; those of all entries stand first. */
	struct lx_buf long_name, long_link, global, records;
	struct lx_tarball_pax said;
};

/* Exactly so many bytes; an archive that ends before is broken. */
int lx_tarball_read(struct lx_tarball_reader *r, void *buf, size_t n, struct lx_err *err);
int lx_tarball_broken(const struct lx_tarball_reader *r, const char *what, struct lx_err *err);

/* How much follows a header. */
int lx_tarball_size_of(const struct lx_tarball_reader *r, const struct lx_tarball_header *h, uint64_t *ret,
		       struct lx_err *err);
/* Makes r->entry, and sets how much of it is to come. `own`: its own pax records. */
int lx_tarball_make_entry(struct lx_tarball_reader *r, const struct lx_tarball_header *h, struct lx_buf *own,
			  struct lx_err *err);
/* Whether the entry, a regular file, is a sparse one; reads its map, wherever that is, and checks it. */
int lx_tarball_read_sparse(struct lx_tarball_reader *r, const struct lx_tarball_header *h,
			   struct lx_err *err);

#endif
