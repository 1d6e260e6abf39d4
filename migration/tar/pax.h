/*
 * Records of pax: "27 path=./a/long/one ...\n", the length of the whole record in front. They say what the
 * header has no room for. Source: POSIX.1-2017, pax, "pax Extended Header"; "Storing Sparse Files" of the
 * GNU tar manual for GNU.sparse.*, of which there are three versions.
 */
#ifndef LX_MIGRATION_TAR_PAX_H
#define LX_MIGRATION_TAR_PAX_H

#include <time.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "migration/tar/entry.h"

/* Bytes of one entry's records. Maps of sparse files can be in them. */
#define LX_TARBALL_PAX_MAX (16u << 20)

/* What records said; what they did not say is NULL, or not `has`. {0} says nothing. */
struct lx_tarball_pax {
	const char *path, *link, *sparse_name; /* borrowed of the text */
	bool has_size, has_uid, has_gid, has_mtime, has_atime, has_real_size, has_piece;
	uint64_t size, uid, gid, real_size;
	struct timespec mtime, atime;
	uint64_t sparse_major; /* 1: its map stands in front of its content; 0: it was in the records */
	uint64_t piece_at;     /* has_piece: one that has no length yet */
};

/*
 * Takes in records; those that mean nothing here are passed over, later ones win over earlier ones, and an
 * empty value takes back what was said. `text` is written to and must stay. Pieces of sparse files are
 * added to `e`. What is broken is LX_INVALID_ARGUMENT.
 */
int lx_tarball_pax_take(struct lx_tarball_pax *pax, char *text, size_t len, struct lx_tarball_entry *e,
			struct lx_err *err);

/* Appends a record. 0 or -ENOMEM. */
int lx_tarball_pax_put(struct lx_buf *out, const char *key, const char *value);
int lx_tarball_pax_put_number(struct lx_buf *out, const char *key, uint64_t value);
int lx_tarball_pax_put_time(struct lx_buf *out, const char *key, struct timespec value);

#endif
