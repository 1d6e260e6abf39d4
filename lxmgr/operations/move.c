/*
 * instance.move: from the node it is on to another one.
 *
 *   image        the target has the image, or gets it (image_fetch.c)
 *   check        preflight of both nodes (move_check.c); what blocks ends it here, or means the
 *                next rung: live, near-live
 *   expect       the target's agent is told what comes, and from whom
 *   send         the source's agent sends it; its word is the outcome
 *   end          DONE: home and generation change in the transaction that ends the operation;
 *                ABORTED: the next rung, or FAILURE
 *
 * Whose it is is decided between the agents (migration/migration.h). They know the move by the
 * operation's id, to which each further rung adds its number. Once it has been sent, run again
 * means: the source's agent is asked how it stands. After a restart of the manager, which does
 * not know how far it was, that agent is asked about each rung, the last one first; when it
 * knows of none nothing has been touched, and all begins anew.
 *
 * A source that goes away after it has committed tells nobody; the target's own report then
 * does (instance_report.c), and the operation ends well without the source. What the source knows
 * of it follows when it is back (move_late.c). When nobody has told in time, so does how it ended
 * (move_outcome.c).
 */
#include "lxmgr/operations/move.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/operations/move_steps.h"
#include "proto/pb.h"

static void move_run(struct lx_op *op);

/* ------------------------------------------------------------------ expect */

static void on_expected(struct lx_op *op, const ProtobufCMessage *resp, const struct lx_err *err)
{
	if (err->code != LX_OK)
		lx_move_end_failed(op, err);
	else
		lx_move_send(op);
}

static void expect(struct lx_op *op)
{
	Lxmgr__V1__AgentExpectInstanceRequest req = LXMGR__V1__AGENT_EXPECT_INSTANCE_REQUEST__INIT;
	const Lxmgr__V1__MoveInstanceRequest *args = lx_move_args(op);
	struct lx_move_op *mv = op->data;
	struct lx_node *source = lx_map_get(&op->m->nodes, op->inst->pb->node);
	Lxmgr__V1__InstanceSpec *spec = lx_inst_spec(op->inst, mv->mode != LX_MOVE_COLD);
	struct lx_err err = LX_ERR_INIT;
	char operation[LX_MOVE_OPERATION_MAX];

	if (!source || !spec) {
		lx_pb_free(spec);
		lx_err_oom(&err);
		lx_move_end_failed(op, &err);
		return;
	}
	lx_move_agent_operation(op, operation);
	lx_op_phase(op, "expect");
	spec->generation++;
	req.operation = operation;
	req.spec = spec;
	req.source = source->pb->name;
	req.source_address = source->pb->address;
	req.mode = mv->mode;
	lx_op_agent_call(op, args->target, "ExpectInstance", &req.base, on_expected);
	lx_pb_free(spec);
}

/* ------------------------------------------------------------------ check */

static void blocked(const Lxmgr__V1__MoveCheck *check, const char *name, bool live, struct lx_err *err)
{
	char text[LX_ERR_MSG_MAX] = "";
	size_t n = 0, at = 0;

	for (size_t i = 0; i < check->n_obstacles; i++) {
		const Lxmgr__V1__MoveObstacle *o = check->obstacles[i];

		if (!o->blocks)
			continue;
		if (at < sizeof(text) - 1 && n < 3)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", n ? "; " : "", o->cause);
		if (n++ == 0)
			lx_err_hint(err, "%s", o->cure);
	}
	lx_err_set(err, LX_FAILED_PRECONDITION, "%s cannot be moved%s to %s: %s%s", name, live ? " live" : "",
		   check->target, text, n > 3 ? "; and more" : "");
	lx_err_hint(err, "lxmgr move %s --target %s --check names each cause and its cure. %s", name,
		    check->target, check->next);
}

static void on_checked(const Lxmgr__V1__MoveCheck *check, const struct lx_err *err, void *arg)
{
	struct lx_op *op = arg;
	struct lx_move_op *mv = op->data;
	struct lx_err why = *err;

	if (op->ending || lx_op_ended(op) || op->m->stopping)
		return;
	if (why.code == LX_UNAVAILABLE) {
		lx_op_park(op, op->inst->pb->node, &why);
		return;
	}
	if (why.code == LX_OK && !check->possible)
		blocked(check, op->inst->pb->name, mv->mode == LX_MOVE_LIVE, &why);
	if (why.code != LX_OK) {
		lx_move_end_failed(op, &why);
		return;
	}
	if (mv->mode == LX_MOVE_LIVE && check->mode == LX_MOVE_NEAR_LIVE) {
		struct lx_err reason = LX_ERR_INIT;

		blocked(check, op->inst->pb->name, true, &reason);
		snprintf(mv->reason, sizeof(mv->reason), "%s", reason.msg);
	}
	mv->mode = check->mode;
	expect(op);
}

static void check(struct lx_op *op)
{
	struct lx_err err = LX_ERR_INIT;

	lx_op_phase(op, "check");
	if (lx_move_check(op->m, op->inst, lx_move_args(op)->target, lx_move_args(op), on_checked, op, &err) <
	    0) {
		if (err.code == LX_UNAVAILABLE)
			lx_op_park(op, op->inst->pb->node, &err);
		else
			lx_move_end_failed(op, &err);
	}
}

/* ------------------------------------------------------------------ rungs */

Lxmgr__V1__MoveMode lx_move_first_mode(const struct lx_op *op)
{
	const Lxmgr__V1__MoveInstanceRequest *args = lx_move_args(op);

	if (op->inst->pb->status == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED)
		return LX_MOVE_COLD;
	return args->stateless || args->live == LXMGR__V1__LIVE_MODE__LIVE_MODE_OFF ? LX_MOVE_NEAR_LIVE
										    : LX_MOVE_LIVE;
}

void lx_move_next_rung(struct lx_op *op, const struct lx_err *why)
{
	const Lxmgr__V1__MoveInstanceRequest *args = lx_move_args(op);
	struct lx_move_op *mv = op->data;

	mv->settled = false;
	if (mv->mode != LX_MOVE_LIVE || args->live != LXMGR__V1__LIVE_MODE__LIVE_MODE_PREFERRED ||
	    mv->rung + 1 >= LX_MOVE_RUNGS_MAX) {
		lx_move_end_failed(op, why);
		return;
	}
	lx_info("a live move failed, trying near-live", "operation=%s instance=%s error=\"%s\"", op->pb->id,
		op->pb->subject, why->msg);
	snprintf(mv->reason, sizeof(mv->reason), "%s", why->msg);
	mv->rung++;
	mv->sent = false;
	mv->mode = LX_MOVE_NEAR_LIVE;
	expect(op);
}

static void on_image(struct lx_op *op, const struct lx_err *err)
{
	struct lx_move_op *mv = op->data;

	if (err->code != LX_OK) {
		lx_move_end_failed(op, err);
	} else if (op->cancelled) {
		struct lx_err why = LX_ERR_INIT;

		lx_err_set(&why, LX_CANCELLED, "cancelled");
		lx_move_end_failed(op, &why);
	} else if (mv->rung_known) {
		expect(op); /* once more: it was begun */
	} else {
		mv->mode = lx_move_first_mode(op);
		mv->rung_known = true;
		check(op);
	}
}

void lx_move_anew(struct lx_op *op)
{
	struct lx_move_op *mv = op->data;

	mv->finding = mv->sent = mv->rung_known = false;
	mv->rung = 0;
	op->resumed = false;
	move_run(op);
}

bool lx_move_has_arrived(const struct lx_op *op)
{
	const Lxmgr__V1__InstanceReport *r = op->inst->arrived;

	return r && r->generation == op->inst->pb->generation + 1;
}

static void move_run(struct lx_op *op)
{
	const Lxmgr__V1__MoveInstanceRequest *args = lx_move_args(op);
	struct lx_err err = LX_ERR_INIT;

	if (!op->data)
		op->data = calloc(1, sizeof(struct lx_move_op));
	struct lx_move_op *mv = op->data;

	if (!op->inst || !mv) {
		lx_err_set(&err, LX_INTERNAL, "instance %s is not in the store", op->pb->subject);
		lx_op_end(op, &err, NULL, NULL);
		return;
	}
	struct lx_node *target = lx_node_find(op->m, args->target, &err);

	if (!target)
		lx_move_end_failed(op, &err);
	else if (lx_streq(op->inst->pb->node, args->target))
		lx_op_end(op, NULL, NULL, NULL); /* told so by the target itself */
	else if (lx_move_has_arrived(op))
		lx_move_end_moved(op);
	else if (mv->sent)
		lx_move_send(op);
	else if (op->resumed)
		lx_move_find_rung(op, LX_MOVE_RUNGS_MAX - 1);
	else
		lx_op_need_image(op, target, op->inst->pb->image_fingerprint, on_image);
}

const struct lx_op_kind lx_op_move = {
	.name = "instance.move",
	.args = &lxmgr__v1__move_instance_request__descriptor,
	.run = move_run,
	.cancel = lx_op_cancel_fetch,
	.away = lx_move_end_away,
};
