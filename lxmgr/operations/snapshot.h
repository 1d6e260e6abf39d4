/* What the operations on snapshots share. */
#ifndef LX_LXMGR_OPERATIONS_SNAPSHOT_H
#define LX_LXMGR_OPERATIONS_SNAPSHOT_H

#include "lxmgr/operations/operation.h"

/* False: the instance is gone, and the operation has ended. */
bool lx_snapshot_begin(struct lx_op *op, const char *phase);
/* Fills in the operation and the instance; the rest of `req` is the caller's. */
void lx_snapshot_call(struct lx_op *op, const char *method, Lxmgr__V1__AgentSnapshotRequest *req,
		      lx_op_reply cb);
/* In words, when the agent is of a version before there were snapshots. */
void lx_snapshot_explain(const struct lx_op *op, struct lx_err *err);
void lx_snapshot_event(const struct lx_op *op, const char *action, const char *snapshot);

#endif
