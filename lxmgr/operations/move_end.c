/*
 * How instance.move ends: home and generation change in the transaction that ends the operation;
 * or the instance stays and tells why. Then the agents may forget it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/operations/move_steps.h"
#include "proto/pb.h"

void lx_move_agent_operation(const struct lx_op *op, char out[LX_MOVE_OPERATION_MAX])
{
	const struct lx_move_op *mv = op->data;

	if (mv->rung == 0)
		snprintf(out, LX_MOVE_OPERATION_MAX, "%s", op->pb->id);
	else
		snprintf(out, LX_MOVE_OPERATION_MAX, "%s-%u", op->pb->id, mv->rung + 1);
}

/* ------------------------------------------------------------------ forgetting */

/* The second one is told when the first one needs its word no more. */
struct forgetting {
	struct lx_manager *m;
	char operation[LX_MOVE_OPERATION_MAX], second[LX_NAME_MAX + 1];
};

static int end_move_at(struct lx_manager *m, const char *node, const char *operation, lx_unary_cb cb,
		       void *arg)
{
	Lxmgr__V1__AgentEndMoveRequest req = LXMGR__V1__AGENT_END_MOVE_REQUEST__INIT;
	struct lx_node *n = lx_map_get(&m->nodes, node);

	req.operation = (char *)(uintptr_t)operation;
	if (!n || !lx_node_online(n))
		return -ENOTCONN;
	return lx_channel_unary(n->channel, &lxmgr__v1__agent_service__descriptor, "EndMove", &req.base, NULL,
				cb, arg, NULL, NULL);
}

static void on_forgotten(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
}

static void on_first_forgot(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	lx_autofree struct forgetting *f = arg;

	if ((err->code == LX_OK || err->code == LX_NOT_FOUND) && !f->m->stopping)
		(void)end_move_at(f->m, f->second, f->operation, on_forgotten, NULL);
}

/*
 * Both agents may forget it: first the one that may wait for the other's word, the source for
 * "done", the target for "given up". While that one is away or still waits, nobody is told;
 * both then do so by themselves, some day.
 */
static void forget(struct lx_manager *m, const char *first, const char *second, const char *operation)
{
	struct forgetting *f = calloc(1, sizeof(*f));

	if (!f)
		return;
	f->m = m;
	snprintf(f->operation, sizeof(f->operation), "%s", operation);
	snprintf(f->second, sizeof(f->second), "%s", second);
	if (end_move_at(m, first, operation, on_first_forgot, f) < 0)
		free(f);
}

static void forget_all(struct lx_op *op, const char *first, const char *second)
{
	struct lx_move_op *mv = op->data;
	unsigned last = mv ? mv->rung : 0;

	for (unsigned i = 0; mv && i <= last; i++) {
		char operation[LX_MOVE_OPERATION_MAX];

		mv->rung = i;
		lx_move_agent_operation(op, operation);
		forget(op->m, first, second, operation);
	}
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
		forget_all(op, source, lx_move_args(op)->target);
}

void lx_move_end_moved(struct lx_op *op)
{
	struct lx_move_op *mv = op->data;
	struct lx_inst *inst = op->inst;
	struct lx_txn *txn = lx_txn_new(NULL);
	Lxmgr__V1__MoveReport *old = inst->pb->last_move;
	struct lx_err err = LX_ERR_INIT;
	int r = txn ? 0 : lx_err_oom(&err);

	if (op->pb->move && mv && *mv->reason)
		lx_pb_set(&op->pb->move->reason, mv->reason);
	/* What the store keeps of it already names the last move. */
	if (op->pb->move)
		inst->pb->last_move = op->pb->move;
	if (r == 0)
		r = lx_inst_rehome_txn(txn, inst, lx_move_args(op)->target, inst->pb->generation + 1, &err);
	inst->pb->last_move = old;
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
		forget_all(op, lx_move_args(op)->target, op->inst->pb->node);
}

void lx_move_end_failed(struct lx_op *op, const struct lx_err *why)
{
	if (op->inst) {
		free(op->inst->arriving_at);
		op->inst->arriving_at = NULL;
		lx_pb_set(&op->inst->pb->last_error, why->msg);
	}
	lx_op_end(op, why, NULL, on_failed);
}
