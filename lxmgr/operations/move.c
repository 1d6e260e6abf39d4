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
 * does (instance_report.c), and the operation ends well without the source.
 */
#include "lxmgr/operations/move.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/operations/operation.h"
#include "proto/pb.h"

#define STATE(s)  LXMGR__V1__MOVE_STATE__MOVE_STATE_##s
#define COLD      LXMGR__V1__MOVE_MODE__MOVE_MODE_COLD
#define LIVE      LXMGR__V1__MOVE_MODE__MOVE_MODE_LIVE
#define NEAR_LIVE LXMGR__V1__MOVE_MODE__MOVE_MODE_NEAR_LIVE

#define RUNGS_MAX 2u

struct move {
	unsigned rung;   /* 0, 1 ... */
	bool rung_known; /* mode is set */
	bool sent;       /* the source's agent may know of it */
	bool finding;    /* is asked whether it does */
	Lxmgr__V1__MoveMode mode;
	char reason[LX_ERR_MSG_MAX]; /* why it is not the rung above */
	bool settled;                /* the source's agent has told the outcome */
	Lxmgr__V1__MoveState state;
	struct lx_err why;
	Lxmgr__V1__MoveReport *report; /* freed by hand: op->data is freed as one block */
};

static void next_rung(struct lx_op *op, const struct lx_err *why);
static void find_rung(struct lx_op *op, unsigned rung);
static void move_run(struct lx_op *op);

static const Lxmgr__V1__MoveInstanceRequest *args_of(const struct lx_op *op)
{
	return (const void *)op->args;
}

/* The agents' name for this try. */
static void agent_operation(const struct lx_op *op, char out[80])
{
	const struct move *mv = op->data;

	if (mv->rung == 0)
		snprintf(out, 80, "%s", op->pb->id);
	else
		snprintf(out, 80, "%s-%u", op->pb->id, mv->rung + 1);
}

/* ------------------------------------------------------------------ the end */

/* The second one is told when the first one needs its word no more. */
struct forgetting {
	struct lx_manager *m;
	char operation[80], second[LX_NAME_MAX + 1];
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
	struct move *mv = op->data;
	unsigned last = mv ? mv->rung : 0;

	for (unsigned i = 0; mv && i <= last; i++) {
		char operation[80];

		mv->rung = i;
		agent_operation(op, operation);
		forget(op->m, first, second, operation);
	}
}

static void on_moved(struct lx_op *op)
{
	struct lx_inst *inst = op->inst;
	lx_autofree char *source = strdup(inst->pb->node);

	if (op->pb->move) {
		lx_pb_free(inst->pb->last_move);
		inst->pb->last_move = LX_PB_DUP(Lxmgr__V1__MoveReport, op->pb->move);
	}
	lx_inst_rehome(op->m, inst, args_of(op)->target, inst->pb->generation + 1);
	if (source)
		forget_all(op, source, args_of(op)->target);
}

static void end_moved(struct lx_op *op, const Lxmgr__V1__MoveReport *report)
{
	struct move *mv = op->data;
	struct lx_inst *inst = op->inst;
	struct lx_txn *txn = lx_txn_new(NULL);
	Lxmgr__V1__MoveReport *old = inst->pb->last_move;
	struct lx_err err = LX_ERR_INIT;
	int r = txn ? 0 : lx_err_oom(&err);

	if (report && !op->pb->move)
		op->pb->move = LX_PB_DUP(Lxmgr__V1__MoveReport, report);
	if (op->pb->move && mv && *mv->reason)
		lx_pb_set(&op->pb->move->reason, mv->reason);
	/* What the store keeps of it already names the last move. */
	if (op->pb->move)
		inst->pb->last_move = op->pb->move;
	if (r == 0)
		r = lx_inst_rehome_txn(txn, inst, args_of(op)->target, inst->pb->generation + 1, &err);
	inst->pb->last_move = old;
	lx_op_result(op, "from", inst->pb->node);
	lx_op_result(op, "to", args_of(op)->target);
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
		forget_all(op, args_of(op)->target, op->inst->pb->node);
}

static void end_failed(struct lx_op *op, const struct lx_err *why)
{
	if (op->inst) {
		free(op->inst->arriving_at);
		op->inst->arriving_at = NULL;
		lx_pb_set(&op->inst->pb->last_error, why->msg);
	}
	lx_op_end(op, why, NULL, on_failed);
}

/* Nothing has been touched: as if this were the first time. */
static void begin_anew(struct lx_op *op)
{
	struct move *mv = op->data;

	mv->finding = mv->sent = mv->rung_known = false;
	mv->rung = 0;
	op->resumed = false;
	move_run(op);
}

/* ------------------------------------------------------------------ send */

static void on_progress(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentMoveProgress *p = (const void *)msg;
	struct lx_op *op = arg;
	struct move *mv = op->data;

	if (op->ending || lx_op_ended(op))
		return;
	/* It is known there: what this is about has been found. */
	mv->finding = false;
	if (!p->status) {
		lx_op_progress(op, p->phase, p->done, p->total, "bytes");
		if (lx_streq(p->phase, "committed") && !op->inst->arriving_at) {
			/* Its cards are there in a moment: who talks to it shall find it at once. */
			op->inst->arriving_at = strdup(args_of(op)->target);
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
	if (p->status->report && !op->pb->move)
		op->pb->move = LX_PB_DUP(Lxmgr__V1__MoveReport, p->status->report);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct lx_op *op = arg;
	struct move *mv = op->data;

	op->call = NULL;
	if (op->ending || lx_op_ended(op) || op->m->stopping)
		return;
	if (mv->settled && mv->state == STATE(DONE))
		end_moved(op, NULL);
	else if (mv->settled)
		next_rung(op, &mv->why);
	else if (mv->finding && err->code == LX_NOT_FOUND && mv->rung > 0)
		find_rung(op, mv->rung - 1);
	else if (mv->finding && err->code == LX_NOT_FOUND)
		begin_anew(op);
	else if (err->code == LX_OK || err->code == LX_UNAVAILABLE || err->code == LX_CANCELLED)
		lx_op_park(op, op->inst->pb->node, err);
	else
		next_rung(op, err); /* refused before anything was begun */
}

static const struct lx_call_events send_events = { .message = on_progress, .closed = on_closed };

static void send_it(struct lx_op *op)
{
	Lxmgr__V1__AgentSendInstanceRequest req = LXMGR__V1__AGENT_SEND_INSTANCE_REQUEST__INIT;
	const Lxmgr__V1__MoveInstanceRequest *args = args_of(op);
	struct move *mv = op->data;
	struct lx_node *source = lx_map_get(&op->m->nodes, op->inst->pb->node),
		       *target = lx_map_get(&op->m->nodes, args->target);
	struct lx_err err = LX_ERR_INIT;
	char operation[80];

	if (!source || !target || !lx_node_online(source)) {
		lx_op_park(op, op->inst->pb->node, NULL);
		return;
	}
	agent_operation(op, operation);
	op->pb->cancellable = false;
	mv->sent = true;
	lx_op_phase(op, "send");
	req.operation = operation;
	req.name = op->inst->pb->name;
	req.generation = op->inst->pb->generation;
	req.new_generation = op->inst->pb->generation + 1;
	req.target = args->target;
	req.target_address = target->pb->address;
	req.mode = mv->finding ? LXMGR__V1__MOVE_MODE__MOVE_MODE_UNSPECIFIED : mv->mode;
	req.timeout_seconds = args->timeout_seconds;
	req.stop_first = args->stateless;
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

static Lxmgr__V1__MoveMode first_mode(const struct lx_op *op)
{
	const Lxmgr__V1__MoveInstanceRequest *args = args_of(op);

	if (op->inst->pb->status == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED)
		return COLD;
	return args->stateless || args->live == LXMGR__V1__LIVE_MODE__LIVE_MODE_OFF ? NEAR_LIVE : LIVE;
}

static void find_rung(struct lx_op *op, unsigned rung)
{
	struct move *mv = op->data;

	mv->finding = true;
	mv->rung = rung;
	/* Of what is found; what the check before may have made of the first one does not matter any more. */
	mv->mode = rung == 0 ? first_mode(op) : NEAR_LIVE;
	mv->rung_known = true;
	send_it(op);
}

/* ------------------------------------------------------------------ expect */

static void on_expected(struct lx_op *op, const ProtobufCMessage *resp, const struct lx_err *err)
{
	if (err->code != LX_OK)
		end_failed(op, err);
	else
		send_it(op);
}

static void expect(struct lx_op *op)
{
	Lxmgr__V1__AgentExpectInstanceRequest req = LXMGR__V1__AGENT_EXPECT_INSTANCE_REQUEST__INIT;
	const Lxmgr__V1__MoveInstanceRequest *args = args_of(op);
	struct move *mv = op->data;
	struct lx_node *source = lx_map_get(&op->m->nodes, op->inst->pb->node);
	Lxmgr__V1__InstanceSpec *spec = lx_inst_spec(op->inst, mv->mode != COLD);
	struct lx_err err = LX_ERR_INIT;
	char operation[80];

	if (!source || !spec) {
		lx_pb_free(spec);
		lx_err_oom(&err);
		end_failed(op, &err);
		return;
	}
	agent_operation(op, operation);
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
	struct move *mv = op->data;
	struct lx_err why = *err;

	if (op->ending || lx_op_ended(op) || op->m->stopping)
		return;
	if (why.code == LX_UNAVAILABLE) {
		lx_op_park(op, op->inst->pb->node, &why);
		return;
	}
	if (why.code == LX_OK && !check->possible)
		blocked(check, op->inst->pb->name, mv->mode == LIVE, &why);
	if (why.code != LX_OK) {
		end_failed(op, &why);
		return;
	}
	if (mv->mode == LIVE && check->mode == NEAR_LIVE) {
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
	if (lx_move_check(op->m, op->inst, args_of(op)->target, args_of(op), on_checked, op, &err) < 0) {
		if (err.code == LX_UNAVAILABLE)
			lx_op_park(op, op->inst->pb->node, &err);
		else
			end_failed(op, &err);
	}
}

/* ------------------------------------------------------------------ rungs */

static void next_rung(struct lx_op *op, const struct lx_err *why)
{
	const Lxmgr__V1__MoveInstanceRequest *args = args_of(op);
	struct move *mv = op->data;

	mv->settled = false;
	if (mv->mode != LIVE || args->live != LXMGR__V1__LIVE_MODE__LIVE_MODE_PREFERRED ||
	    mv->rung + 1 >= RUNGS_MAX) {
		end_failed(op, why);
		return;
	}
	lx_info("a live move failed, trying near-live", "operation=%s instance=%s error=\"%s\"", op->pb->id,
		op->pb->subject, why->msg);
	snprintf(mv->reason, sizeof(mv->reason), "%s", why->msg);
	mv->rung++;
	mv->sent = false;
	mv->mode = NEAR_LIVE;
	expect(op);
}

static void on_image(struct lx_op *op, const struct lx_err *err)
{
	struct move *mv = op->data;

	if (err->code != LX_OK) {
		end_failed(op, err);
	} else if (op->cancelled) {
		struct lx_err why = LX_ERR_INIT;

		lx_err_set(&why, LX_CANCELLED, "cancelled");
		end_failed(op, &why);
	} else if (mv->rung_known) {
		expect(op); /* once more: it was begun */
	} else {
		mv->mode = first_mode(op);
		mv->rung_known = true;
		check(op);
	}
}

static bool has_arrived(const struct lx_op *op)
{
	const Lxmgr__V1__InstanceReport *r = op->inst->arrived;

	return r && r->generation == op->inst->pb->generation + 1;
}

static void move_run(struct lx_op *op)
{
	const Lxmgr__V1__MoveInstanceRequest *args = args_of(op);
	struct lx_err err = LX_ERR_INIT;

	if (!op->data)
		op->data = calloc(1, sizeof(struct move));
	struct move *mv = op->data;

	if (!op->inst || !mv) {
		lx_err_set(&err, LX_INTERNAL, "instance %s is not in the store", op->pb->subject);
		lx_op_end(op, &err, NULL, NULL);
		return;
	}
	struct lx_node *target = lx_node_find(op->m, args->target, &err);

	if (!target)
		end_failed(op, &err);
	else if (lx_streq(op->inst->pb->node, args->target))
		lx_op_end(op, NULL, NULL, NULL); /* told so by the target itself */
	else if (has_arrived(op))
		end_moved(op, NULL);
	else if (mv->sent)
		send_it(op);
	else if (op->resumed)
		find_rung(op, RUNGS_MAX - 1);
	else
		lx_op_need_image(op, target, op->inst->pb->image_fingerprint, on_image);
}

const struct lx_op_kind lx_op_move = {
	.name = "instance.move",
	.args = &lxmgr__v1__move_instance_request__descriptor,
	.run = move_run,
	.cancel = lx_op_cancel_fetch,
};
