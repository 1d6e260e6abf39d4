/*
 * The part of memory.h that is about memory which processes share and which lies in no file system
 * (migration/segments.h): rounds, what is left when the guest stands still, and CRIU's lists of it.
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
 * then. From here to lx_shared_release() no segment is added.
 */
int lx_shared_stand(struct lx_memory *mem, struct lx_err *err);

/* Whether this file of the dump is for lx_shared_rest() to send. */
bool lx_shared_is_list(struct lx_memory *mem, const char *name);
int lx_shared_rest(struct lx_memory *mem, int dir, struct lx_err *err);

void lx_shared_release(struct lx_memory *mem);

#endif
