/*
 * The sending of instance.move: the source's agent does it, tells how it goes, and its word is the
 * outcome. A manager that does not know how far it was asks in the same way.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/str.h"
#include "lxmgr/operations/move_steps.h"
#include "lxmgr/shown.h"
#include "proto/pb.h"

#define STATE(s) LXMGR__V1__MOVE_STATE__MOVE_STATE_##s

/* ------------------------------------------------------------------ send */

static void on_progress(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentMoveProgress *p = (const void *)msg;
	struct lx_op *op = arg;
	struct lx_move_op *mv = op->data;

	if (op->ending || lx_op_ended(op))
		return;
	/* It is known there: what this is about has been found. */
	mv->finding = false;
	if (!p->status) {
		lx_op_progress(op, p->phase, p->done, p->total, "bytes");
		if (lx_streq(p->phase, "committed") && !op->inst->arriving_at) {
			/* Its cards are there in a moment: who talks to it shall find it at once. */
			op->inst->arriving_at = strdup(lx_move_args(op)->target);
			lx_link_apply_networks(op->m);
		}
		return;
	}
	mv->settled = true;
	mv->state = p->status->state;
	lx_err_set(&mv->why, p->status->error_code ? (enum lx_code)p->status->error_code : LX_ABORTED, "%s",
		   *p->status->error ? p->status->error : "the move was given up");
	if (*p->status->hint)
		lx_err_hint(&mv->why, "%s", p->status->hint);
	lx_shown_err(&mv->why, op->m);
	if (p->status->report && !op->pb->move)
		op->pb->move = LX_PB_DUP(Lxmgr__V1__MoveReport, p->status->report);
}

/* The target may have told meanwhile, and does so once. */
static void wait_for_source(struct lx_op *op, const struct lx_err *why)
{
	if (lx_move_has_arrived(op))
		lx_move_end_moved(op);
	else
		lx_op_park(op, op->inst->pb->node, why);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct lx_op *op = arg;
	struct lx_move_op *mv = op->data;

	op->call = NULL;
	if (op->ending || lx_op_ended(op) || op->m->stopping)
		return;
	if (mv->settled && mv->state == STATE(DONE))
		lx_move_end_moved(op);
	else if (mv->settled)
		lx_move_next_rung(op, &mv->why);
	else if (mv->finding && err->code == LX_NOT_FOUND && mv->rung > 0)
		lx_move_find_rung(op, mv->rung - 1);
	else if (mv->finding && err->code == LX_NOT_FOUND)
		lx_move_anew(op);
	else if (err->code == LX_OK || err->code == LX_UNAVAILABLE || err->code == LX_CANCELLED)
		wait_for_source(op, err);
	else
		lx_move_next_rung(op, err); /* refused before anything was begun */
}

static const struct lx_call_events send_events = { .message = on_progress, .closed = on_closed };

void lx_move_send(struct lx_op *op)
{
	Lxmgr__V1__AgentSendInstanceRequest req = LXMGR__V1__AGENT_SEND_INSTANCE_REQUEST__INIT;
	const Lxmgr__V1__MoveInstanceRequest *args = lx_move_args(op);
	struct lx_move_op *mv = op->data;
	struct lx_node *source = lx_map_get(&op->m->nodes, op->inst->pb->node),
		       *target = lx_map_get(&op->m->nodes, args->target);
	struct lx_err err = LX_ERR_INIT;
	char operation[LX_MOVE_OPERATION_MAX];

	if (!source || !target || !lx_node_online(source)) {
		lx_op_park(op, op->inst->pb->node, NULL);
		return;
	}
	lx_move_agent_operation(op, operation);
	op->pb->cancellable = false;
	mv->sent = true;
	lx_op_phase(op, "send");
	req.operation = operation;
	req.name = op->inst->key;
	req.generation = op->inst->pb->generation;
	req.new_generation = op->inst->pb->generation + 1;
	req.target = args->target;
	req.target_address = target->pb->address;
	req.mode = mv->finding ? LXMGR__V1__MOVE_MODE__MOVE_MODE_UNSPECIFIED : mv->mode;
	req.timeout_seconds = args->timeout_seconds;
	req.stop_first = args->stateless;
	req.postcopy = args->postcopy;
	lx_pb_set(&op->pb->node, source->pb->name);
	if (lx_channel_stream(source->channel, &lxmgr__v1__agent_service__descriptor, "SendInstance", NULL,
			      &send_events, op, &op->call, &err) < 0) {
		lx_op_park(op, source->pb->name, &err);
		return;
	}
	lx_call_send(op->call, &req.base);
	lx_call_half_close(op->call);
}

/* ------------------------------------------------------------------ after a restart */

void lx_move_find_rung(struct lx_op *op, unsigned rung)
{
	struct lx_move_op *mv = op->data;

	mv->finding = true;
	mv->rung = rung;
	/* Of what is found; what the check before may have made of the first one does not matter any more. */
	mv->mode = rung == 0 ? lx_move_first_mode(op) : LX_MOVE_NEAR_LIVE;
	mv->rung_known = true;
	lx_move_send(op);
}
