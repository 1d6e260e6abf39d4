/*
 * A tar archive from outside, read entry by entry from a descriptor, whatever it is
 * compressed with (none, gzip, bzip2, xz, zstd). Everything that comes out of the
 * decompressor is counted, so that a bomb is noticed however it is packed, and an archive
 * counts as complete only when its end mark and the compressor's own trailer were there.
 */
#ifndef LX_IMAGES_TAR_READ_H
#define LX_IMAGES_TAR_READ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <archive.h>
#include <archive_entry.h>

#include "images/progress.h"
#include "lib/err.h"

/* Decompressed bytes of one archive. */
#define LX_TAR_MAX_BYTES (UINT64_C(256) << 30)
/* Decompressed to compressed, once more than LX_TAR_RATIO_FLOOR came out. Real images reach 10. */
#define LX_TAR_MAX_RATIO   500
#define LX_TAR_RATIO_FLOOR (UINT64_C(1) << 30)

struct lx_tar_source {
	int fd; /* borrowed; read from where it stands */
	/* Instead of the descriptor, unless NULL: the next bytes into `buf`, how many, 0 at the end. */
	ssize_t (*read)(void *arg, void *buf, size_t n, struct lx_err *err);
	void *arg;
	const char *name;                   /* for messages: "the image", "the root file system" */
	uint64_t size;                      /* bytes to come, for progress; 0: not known */
	uint64_t max_bytes;                 /* 0: LX_TAR_MAX_BYTES */
	uint64_t max_ratio;                 /* 0: LX_TAR_MAX_RATIO */
	const struct lx_progress *progress; /* may be NULL; phase "unpack" */
};

struct lx_tar;

int lx_tar_open(const struct lx_tar_source *source, struct lx_tar **ret, struct lx_err *err);
void lx_tar_close(struct lx_tar *t);

/* 1: *ret is the next entry, valid until the next call. 0: the end, and all was well. */
int lx_tar_next(struct lx_tar *t, struct archive_entry **ret, struct lx_err *err);
/* 1: the next piece of the entry's content, at `offset` of the file. 0: no more. */
int lx_tar_data(struct lx_tar *t, const void **data, size_t *len, int64_t *offset, struct lx_err *err);

#define lx_autotar __attribute__((cleanup(lx_tar_cleanup)))
static inline void lx_tar_cleanup(struct lx_tar **t)
{
	lx_tar_close(*t);
}

#endif
