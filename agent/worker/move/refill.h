/*
 * At the destination: puts back what was copied ahead of files in the guest's tmpfs
 * (migration/ahead_files.h), when CRIU has restored all and nothing runs yet: not before are its file systems
 * where its init sees them. A child does it, which the guest's own memory limit counts.
 */
#ifndef LX_WORKER_MOVE_REFILL_H
#define LX_WORKER_MOVE_REFILL_H

#include "agent/worker/move/move.h"

/* `images`: the directory of the dump. Where nothing came ahead there is nothing to do. */
int lx_refill(const struct lx_move *m, int images, pid_t init, struct lx_err *err);

#endif
