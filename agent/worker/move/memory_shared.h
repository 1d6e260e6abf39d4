/*
 * The part of memory.h that is about memory which processes share (migration/segments.h): rounds, what
 * is left when the guest stands still, and lists of it.
 *
 * Pages of what lies in no file system go into images that CRIU will read, and its own lists of pages
 * refer to them. Files in a tmpfs are archived by a tar that CRIU runs (migration/tar/), which leaves out
 * what is still as it was sent; the destination puts that into them when they have been unpacked
 * (ahead_files.h).
 */
#ifndef LX_WORKER_MOVE_MEMORY_SHARED_H
#define LX_WORKER_MOVE_MEMORY_SHARED_H

#include "agent/worker/move/memory.h"

/* Looks for segments that are not known yet. Adds what all of them have to *bytes. */
int lx_shared_find(struct lx_memory *mem, uint64_t *bytes, struct lx_err *err);
/* What has not been sent as it is now. */
int lx_shared_round(struct lx_memory *mem, struct lx_err *err);
/*
 * The guest stands still: CRIU will not be shown what is still as it was sent. To find that out takes a
 * core some 0.2 s for 1 GiB, and goes on beside CRIU, which comes to shared memory last and waits for it
 * then. From here to lx_shared_back() or lx_shared_release() no segment is added.
 */
int lx_shared_stand(struct lx_memory *mem, struct lx_err *err);
void lx_shared_back(struct lx_memory *mem);

/* Whether this file of the dump is for lx_shared_rest() to send. */
bool lx_shared_is_list(struct lx_memory *mem, const char *name);
int lx_shared_rest(struct lx_memory *mem, int dir, struct lx_err *err);

void lx_shared_release(struct lx_memory *mem);

#endif
