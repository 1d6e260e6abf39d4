/*
 * How instance.move ends: home and generation change in the transaction that ends the operation;
 * or the instance stays and tells why. Then the agents may forget it (move_forget.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/operations/move_forget.h"
#include "proto/pb.h"

void lx_move_try(const struct lx_op *op, unsigned rung, char out[LX_MOVE_OPERATION_MAX])
{
	if (rung == 0)
		snprintf(out, LX_MOVE_OPERATION_MAX, "%s", op->pb->id);
	else
		snprintf(out, LX_MOVE_OPERATION_MAX, "%s-%u", op->pb->id, rung + 1);
}

void lx_move_agent_operation(const struct lx_op *op, char out[LX_MOVE_OPERATION_MAX])
{
	const struct lx_move_op *mv = op->data;

	lx_move_try(op, mv->rung, out);
}

/* ------------------------------------------------------------------ the end */

static void on_moved(struct lx_op *op)
{
	struct lx_inst *inst = op->inst;
	lx_autofree char *source = strdup(inst->pb->node);

	if (op->pb->move) {
		lx_pb_free(inst->pb->last_move);
		inst->pb->last_move = LX_PB_DUP(Lxmgr__V1__MoveReport, op->pb->move);
	}
	lx_inst_rehome(op->m, inst, lx_move_args(op)->target, inst->pb->generation + 1);
	if (source)
		lx_move_forget_begin(op, source, lx_move_args(op)->target);
}

void lx_move_end_moved(struct lx_op *op)
{
	struct lx_move_op *mv = op->data;
	struct lx_inst *inst = op->inst;
	struct lx_txn *txn = lx_txn_new(NULL);
	Lxmgr__V1__MoveReport *old = inst->pb->last_move;
	struct lx_err err = LX_ERR_INIT;
	int r = txn ? 0 : lx_err_oom(&err);

	if (!op->pb->move)
		op->pb->move = lx_move_late_begin(op);
	if (op->pb->move)
		lx_pb_set(&op->pb->move->operation, op->pb->id);
	if (op->pb->move && mv && *mv->reason)
		lx_pb_set(&op->pb->move->reason, mv->reason);
	/* What the store keeps of it already names the last move. */
	if (op->pb->move)
		inst->pb->last_move = op->pb->move;
	if (r == 0)
		r = lx_inst_rehome_txn(txn, inst, lx_move_args(op)->target, inst->pb->generation + 1, &err);
	inst->pb->last_move = old;
	if (r == 0)
		lx_move_forget_txn(txn, op, inst->pb->node, lx_move_args(op)->target);
	lx_op_result(op, "from", inst->pb->node);
	lx_op_result(op, "to", lx_move_args(op)->target);
	if (r < 0) {
		lx_txn_free(txn);
		lx_op_end(op, &err, NULL, NULL);
		return;
	}
	lx_op_end(op, NULL, txn, on_moved);
}

static void on_failed(struct lx_op *op)
{
	if (op->inst)
		lx_move_forget_begin(op, lx_move_args(op)->target, op->inst->pb->node);
}

void lx_move_end_failed(struct lx_op *op, const struct lx_err *why)
{
	struct lx_txn *txn = op->inst ? lx_txn_new(NULL) : NULL;

	if (op->inst) {
		free(op->inst->arriving_at);
		op->inst->arriving_at = NULL;
		lx_pb_set(&op->inst->pb->last_error, why->msg);
	}
	if (txn)
		lx_move_forget_txn(txn, op, lx_move_args(op)->target, op->inst->pb->node);
	lx_op_end(op, why, txn, on_failed);
}
