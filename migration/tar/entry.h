/* One thing in an archive, as it is in a file system. */
#ifndef LX_MIGRATION_TAR_ENTRY_H
#define LX_MIGRATION_TAR_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

/* A piece of a file that is no hole. */
struct lx_tarball_piece {
	uint64_t at, len; /* bytes */
};

struct lx_tarball_entry {
	const char *name; /* as in the archive: "./etc/passwd"; not checked */
	const char *link; /* what a symbolic link holds, or the name of what a hard link is another name of */
	bool is_hard_link;
	mode_t mode; /* what it is, and who may; of a hard link it means nothing */
	uid_t uid;
	gid_t gid;
	dev_t rdev;                   /* of devices */
	struct timespec atime, mtime; /* tv_nsec UTIME_OMIT: not known */
	/* Of regular files; 0 of all else. */
	uint64_t size;   /* with its holes */
	uint64_t stored; /* what of it is in the archive: the pieces, one behind the other */
	bool is_sparse;  /* else it is one piece, and there are no `pieces` */
	/* Ascending, within the size; the last one of a file that ends in a hole is empty, at its end. */
	struct lx_tarball_piece *pieces;
	size_t n_pieces, cap_pieces;
};

/* Adds to `pieces`. 0 or -ENOMEM. */
int lx_tarball_add_piece(struct lx_tarball_entry *e, uint64_t at, uint64_t len);

#endif
