/*
 * How instance.move ends: home and generation change in the transaction that ends the operation;
 * or the instance stays and tells why. Then the agents may forget it (move_forget.c). Or its source
 * has been away for too long: it ends with its outcome open, which is told when that is back
 * (move_outcome.c).
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

	/* A manager that was restarted meanwhile does not know which way it went. */
	if (!op->pb->move)
		op->pb->move = lx_move_late_begin(
			op->pb->id, inst->pb->node, lx_move_args(op)->target,
			mv && mv->rung_known ? mv->mode : LXMGR__V1__MOVE_MODE__MOVE_MODE_UNSPECIFIED);
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

/* ------------------------------------------------------------------ nobody can say */

static void on_open(struct lx_op *op)
{
	lx_move_forget_begin(op, op->inst->pb->node, lx_move_args(op)->target);
}

/* Once the source has been told to send it, its journal alone says who has it. */
static bool may_be_sent(const struct lx_op *op)
{
	const struct lx_move_op *mv = op->data;

	return op->inst && (mv ? mv->sent || mv->finding : op->resumed);
}

/* What the source says later is the outcome. */
static void end_open(struct lx_op *op, const struct lx_err *why)
{
	struct lx_txn *txn = lx_txn_new(NULL);

	free(op->inst->arriving_at);
	op->inst->arriving_at = NULL;
	op->pb->outcome_open = txn != NULL;
	if (txn)
		lx_move_forget_txn(txn, op, op->inst->pb->node, lx_move_args(op)->target);
	lx_op_end(op, why, txn, txn ? on_open : NULL);
}

void lx_move_end_away(struct lx_op *op, const struct lx_err *why)
{
	struct lx_err e = LX_ERR_INIT;

	if (!may_be_sent(op)) {
		lx_move_end_failed(op, why);
		return;
	}
	lx_err_set(&e, LX_UNAVAILABLE, "%s: whether %s has left it will be known when it is back", why->msg,
		   op->inst->pb->name);
	lx_err_hint(
		&e,
		"It runs on one of the two nodes then, wherever the move had come to. lxmgr operation show "
		"%.8s says how it ended when node %s is back (lxmgr node list).",
		op->pb->id, op->inst->pb->node);
	end_open(op, &e);
}

/* ------------------------------------------------------------------ a node was removed */

static bool goes_to(const struct lx_op *op, const char *node)
{
	return op->kind == &lx_op_move && !op->ending && !lx_op_ended(op) &&
	       lx_streq(lx_move_args(op)->target, node);
}

const struct lx_op *lx_move_to(const struct lx_manager *m, const char *node)
{
	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e))
		if (goes_to(lx_map_value(e), node))
			return lx_map_value(e);
	return NULL;
}

void lx_moves_target_removed(struct lx_manager *m, const char *node)
{
	struct lx_err why = LX_ERR_INIT;

	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e)) {
		struct lx_op *op = lx_map_value(e);

		if (!goes_to(op, node) || !op->inst)
			continue;
		lx_err_set(&why, LX_ABORTED, "node %s was removed from the cluster while %s was moving there",
			   node, op->inst->pb->name);
		if (may_be_sent(op))
			end_open(op, &why);
		else
			lx_move_end_failed(op, &why);
		if (op->call)
			lx_call_cancel(op->call);
	}
}

void lx_move_source_removed(struct lx_op *op, const struct lx_err *why)
{
	const char *source = op->inst->pb->node, *target = lx_move_args(op)->target;
	struct lx_txn *txn = lx_txn_new(NULL);

	if (txn)
		lx_move_forget_txn(txn, op, target, source);
	lx_move_forget_begin(op, target, source);
	op->inst->op = NULL;
	op->inst = NULL;
	lx_op_end(op, why, txn, NULL);
}
