/*
 * At the destination: memory that processes share, put in place while the guest still runs at the source
 * (migration/shared_copies.h). What comes ahead goes into an image as all memory does (receive_dump.c);
 * beside that a child of this worker, which the guest's own memory limit counts, copies what is new into the
 * file that the guest will have. The image stays: a restore after this worker's death reads it.
 *
 * Ways to fail: any; then there is no copy, and CRIU reads the image.
 */
#ifndef LX_WORKER_MOVE_COPIES_H
#define LX_WORKER_MOVE_COPIES_H

#include "agent/worker/move/move.h"
#include "migration/page_runs.h"
#include "migration/shared_copies.h"

struct lx_copy {
	uint32_t pages_id;
	int fd;                   /* what the guest will have; -1: given up */
	struct lx_page_runs news; /* in the image, and not copied yet; offsets */
	uint64_t bytes;           /* of those */
};

struct lx_copies {
	uid_t root; /* the guest's, by this node's numbers: who restores has no right to what is another's */
	struct lx_copy v[LX_SHARED_COPIES_MAX];
	size_t n;
	struct lx_copy *open;    /* whose image is being written to */
	struct lx_copy *copying; /* by `child` */
	pid_t child;             /* 0: none */
};

/* The file `f` begins, the one before it has ended. `images`: the directory of the dump. */
void lx_copies_begin(struct lx_copies *c, const struct lx_move *m, int images, const Lxmgr__V1__DumpFile *f);
/* That has been written to it. */
void lx_copies_note(struct lx_copies *c, const struct lx_move *m, int images, uint64_t offset, size_t len);
/* The dump is complete: CRIU may have those that are as the guest left them. */
void lx_copies_ready(struct lx_copies *c, const struct lx_move *m, int images);
void lx_copies_release(struct lx_copies *c);

#endif
