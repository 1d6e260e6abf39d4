/*
 * Memory of a guest that its processes share. Some lies in no file system: shared mappings of no file,
 * memfd_create(2), System V segments (shmget(2)). To the kernel each is a file of one internal tmpfs, of
 * which CRIU knows it by its inode; a segment's pages are named by their offset in it. And files in the
 * guest's own tmpfs (/dev/shm, /run) are the same with a name (tmpfs_files.c).
 *
 * Which pages are not what was sent of them is found by comparing contents (tree_hash.h): a write by
 * a process that has ended since, or was forked in between, is told of by no table of pages.
 */
#ifndef LX_MIGRATION_SEGMENTS_H
#define LX_MIGRATION_SEGMENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"
#include "migration/page_runs.h"

/* Smaller ones are copied while the guest stands still. */
#define LX_SEGMENT_MIN (UINT64_C(1) << 20)

struct lx_tree_hash;

struct lx_segment {
	dev_t dev;     /* of its file system */
	uint64_t id;   /* its inode */
	char *path;    /* of a file, as init sees it; NULL: it has none */
	char *name;    /* that CRIU gives to memfd_create(2) when it restores it; NULL: System V's */
	bool sealable; /* and whether with MFD_ALLOW_SEALING */
	bool twice;    /* two of that number: CRIU's names for them would be one */
	int fd;        /* read only, and nothing's file position */
	size_t pages;  /* `sent` has room for */
	struct lx_tree_hash *sent; /* what was sent of each page; all zero: nothing */
};

struct lx_segments {
	struct lx_segment *v;
	size_t n;
};

/* Adds what these processes have and is large enough. What cannot be looked at is left out. 0 or -ENOMEM. */
int lx_segments_find(struct lx_segments *s, const pid_t *pids, size_t n);
/* Adds files in what init has mounted as tmpfs. What cannot be looked at, or is deep, is left out. */
int lx_segments_find_files(struct lx_segments *s, pid_t init);
void lx_segments_release(struct lx_segments *s);

/* Whether a file is still there under its path. */
bool lx_segment_is_there(const struct lx_segment *seg, pid_t init);

/* Bytes that it has. */
uint64_t lx_segment_bytes(const struct lx_segment *seg);

/* What is there at `offset`, at most `len` bytes; fewer at its end. A negative errno. */
ssize_t lx_segment_read(const struct lx_segment *seg, uint64_t offset, void *buf, size_t len);
/* That has been sent as the content of whole pages from `offset` on. 0 or -ENOMEM. */
int lx_segment_sent(struct lx_segment *seg, uint64_t offset, const void *data, size_t len);

/* Pages that are there, and are what was sent of them (`same`) or not; both are emptied first, either may be
 * NULL. A segment may change meanwhile, and shrink. */
int lx_segment_compare(const struct lx_segment *seg, struct lx_page_runs *same, struct lx_page_runs *other,
		       struct lx_err *err);

/* For tmpfs_files.c. Takes the descriptor and the path, or frees them: -ENOMEM. */
int lx_segments_add_file(struct lx_segments *s, int fd, char *path);

#endif
