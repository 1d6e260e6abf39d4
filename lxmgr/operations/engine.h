/* What the files of the operation engine share; kinds use operation.h only. */
#ifndef LX_LXMGR_OPERATIONS_ENGINE_H
#define LX_LXMGR_OPERATIONS_ENGINE_H

#include "lxmgr/operations/operation.h"

/* The numbers of the wire's OperationStatus. */
enum lx_op_status {
	LX_OP_NONE,
	LX_OP_PENDING,
	LX_OP_RUNNING,
	LX_OP_SUCCESS,
	LX_OP_FAILURE,
	LX_OP_CANCELLED,
};

/* A checked move of the state machine. */
void lx_op_set_status(struct lx_op *op, unsigned to);
/* Tells watchers / everybody who watches events. */
void lx_op_notify(struct lx_op *op);
void lx_op_announce(struct lx_op *op, const char *action);
void lx_op_release_instance(struct lx_op *op);
void lx_op_drop_timer(struct lx_op *op);
/* Hands over to the kind, the first time or again. */
void lx_op_run(struct lx_op *op);

#endif
