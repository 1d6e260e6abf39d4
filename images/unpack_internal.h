/* The unpacker's parts: the loop (unpack.c), making things (unpack_make.c), what is done last
 * (unpack_last.c). */
#ifndef LX_IMAGES_UNPACK_INTERNAL_H
#define LX_IMAGES_UNPACK_INTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "images/jail.h"
#include "images/unpack.h"

/* What is left to do for an entry when all others are there. */
struct lx_pending {
	char *path;
	struct timespec mtime;       /* UTIME_OMIT: nothing */
	struct archive_entry *lists; /* owned copy whose access lists are to be set, or NULL */
};

struct lx_unpacker {
	struct lx_tar *tar;
	const struct lx_unpack_options *options;
	uint64_t max_entries, max_file;
	struct lx_unpacked *done;
	struct lx_jail jail;      /* of the entries */
	struct lx_jail link_jail; /* of hard links' targets */
	uint64_t bytes_at_check;  /* done->bytes when the disk was looked at last */
	struct lx_pending *pending;
	size_t n_pending, cap_pending;
	struct lx_err *err;
};

/* The error for an entry that is the archive's fault. */
int lx_unpack_refuse(struct lx_unpacker *u, const char *path, const char *why);
/* Looks at the free space every now and then. */
int lx_unpack_watch_disk(struct lx_unpacker *u);

/* Makes the directory `path`, or anything else; `path` has been cleaned. */
int lx_unpack_make_dir(struct lx_unpacker *u, struct archive_entry *entry, const char *path);
int lx_unpack_make(struct lx_unpacker *u, struct archive_entry *entry, const char *path);

/* Notes what must be done for the entry at the end, if anything. */
int lx_unpack_remember(struct lx_unpacker *u, struct archive_entry *entry, const char *path);
/* Does it, in the order of the entries. */
int lx_unpack_last(struct lx_unpacker *u);
void lx_unpack_forget(struct lx_unpacker *u);

#endif
