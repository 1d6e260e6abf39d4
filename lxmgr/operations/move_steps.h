/*
 * The parts of instance.move, for each other: the way to the move (move.c), the sending and its
 * outcome (move_send.c), the end (move_end.c).
 */
#ifndef LX_LXMGR_OPERATIONS_MOVE_STEPS_H
#define LX_LXMGR_OPERATIONS_MOVE_STEPS_H

#include <stdbool.h>

#include "lxmgr/operations/operation.h"

#define LX_MOVE_COLD      LXMGR__V1__MOVE_MODE__MOVE_MODE_COLD
#define LX_MOVE_LIVE      LXMGR__V1__MOVE_MODE__MOVE_MODE_LIVE
#define LX_MOVE_NEAR_LIVE LXMGR__V1__MOVE_MODE__MOVE_MODE_NEAR_LIVE

#define LX_MOVE_RUNGS_MAX 2u

/* op->data */
struct lx_move_op {
	unsigned rung;   /* 0, 1 ... */
	bool rung_known; /* mode is set */
	bool sent;       /* the source's agent may know of it */
	bool finding;    /* is asked whether it does */
	Lxmgr__V1__MoveMode mode;
	char reason[LX_ERR_MSG_MAX]; /* why it is not the rung above */
	bool settled;                /* the source's agent has told the outcome */
	Lxmgr__V1__MoveState state;
	struct lx_err why;
};

/* op->args */
static inline const Lxmgr__V1__MoveInstanceRequest *lx_move_args(const struct lx_op *op)
{
	return (const void *)op->args;
}

/* The agents' name for a try, and for this one. */
#define LX_MOVE_OPERATION_MAX 80
void lx_move_try(const struct lx_op *op, unsigned rung, char out[LX_MOVE_OPERATION_MAX]);
void lx_move_agent_operation(const struct lx_op *op, char out[LX_MOVE_OPERATION_MAX]);

/* move.c: the uppermost rung there is for this instance, as it is now. */
Lxmgr__V1__MoveMode lx_move_first_mode(const struct lx_op *op);
/* move.c: the try that was sent has failed, or was refused. */
void lx_move_next_rung(struct lx_op *op, const struct lx_err *why);
/* move.c: nobody has heard of this move, nothing has been touched: as if this were the first time. */
void lx_move_anew(struct lx_op *op);

/* move.c: the target has said that it has it. */
bool lx_move_has_arrived(const struct lx_op *op);

/* move_send.c: the source's agent is told to send it, or asked how it stands. */
void lx_move_send(struct lx_op *op);
/* move_send.c: after a restart; whether the source's agent knows of this rung, or one before it. */
void lx_move_find_rung(struct lx_op *op, unsigned rung);

/* move_end.c */
void lx_move_end_moved(struct lx_op *op);
void lx_move_end_failed(struct lx_op *op, const struct lx_err *why);
/* The node it waits for has been away for too long: as failed, or with its outcome open. */
void lx_move_end_away(struct lx_op *op, const struct lx_err *why);

#endif
