/*
 * Reading an archive, entry by entry: POSIX's ustar and pax, GNU's formats with long names and sparse
 * files, and what was there before them. What it says is not believed: every length has a limit, and a
 * map of a sparse file lies within the file. Names are not looked at; that is for who makes the files.
 *
 *   while ((r = lx_tarball_next(reader, &entry, err)) == 1)
 *           for (;;) { lx_tarball_data(...); until it gives nothing }
 */
#ifndef LX_MIGRATION_TAR_READ_H
#define LX_MIGRATION_TAR_READ_H

#include "lib/err.h"
#include "migration/tar/entry.h"

/* Bytes of a name or a link that a header of its own holds. */
#define LX_TARBALL_NAME_MAX (64u << 10)
/* Pieces of one sparse file. */
#define LX_TARBALL_PIECES_MAX (4u << 20)

struct lx_tarball_reader;

/* Where the (decompressed) archive comes from. */
struct lx_tarball_source {
	/*
	 * The next bytes, valid until the next call: their number, 0 at the end, -1: failed. Then *why says
	 * what is wrong with the archive, or is NULL, and errno tells.
	 */
	ptrdiff_t (*next)(void *arg, const void **data, const char **why);
	void *arg;
};

/* 0 or -ENOMEM. */
int lx_tarball_reader_open(const struct lx_tarball_source *source, struct lx_tarball_reader **ret,
			   struct lx_err *err);
void lx_tarball_reader_free(struct lx_tarball_reader *r);

/*
 * 1: *ret is the next entry, the reader's until the next call; what was not read of the last one is passed
 * over. 0: the archive has ended as it should, and so has its source. Negative: it is broken, or the
 * source failed.
 */
int lx_tarball_next(struct lx_tarball_reader *r, const struct lx_tarball_entry **ret, struct lx_err *err);

/* The next bytes of the entry's content, at most `max`; *ret_len is 0 when it has no more. */
int lx_tarball_data(struct lx_tarball_reader *r, size_t max, const void **ret, size_t *ret_len,
		    struct lx_err *err);

#endif
