/*
 * The operation as an object: its states, who has what in hand, who watches. What is written
 * down is in journal.c, what waits for agents in agent_call.c, kinds are in files of their own.
 */
#include "lxmgr/operations/engine.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/sm.h"
#include "lib/str.h"
#include "proto/pb.h"

static const char *const state_names[] = { "none", "pending", "running", "success", "failure", "cancelled" };
static const uint32_t state_moves[] = {
	[LX_OP_NONE] = LX_SM_TO(LX_OP_PENDING),
	[LX_OP_PENDING] = LX_SM_TO(LX_OP_RUNNING) | LX_SM_TO(LX_OP_FAILURE) | LX_SM_TO(LX_OP_CANCELLED),
	[LX_OP_RUNNING] = LX_SM_TO(LX_OP_SUCCESS) | LX_SM_TO(LX_OP_FAILURE) | LX_SM_TO(LX_OP_CANCELLED),
	[LX_OP_SUCCESS] = 0,
	[LX_OP_FAILURE] = LX_SM_TO(LX_OP_SUCCESS), /* when its outcome was open */
	[LX_OP_CANCELLED] = 0,
};
static const struct lx_sm_def op_sm = { "operation", state_names, LX_ARRAY_SIZE(state_names), state_moves };

void lx_op_set_status(struct lx_op *op, unsigned to)
{
	unsigned state = op->pb->status; /* the enum of the wire has the same numbers */
	lx_sm_move(&op_sm, &state, to, op->pb->id);
	op->pb->status = (Lxmgr__V1__OperationStatus)state;
	op->pb->updated_at_ns = (int64_t)lx_now_realtime_ns();
}

bool lx_op_ended(const struct lx_op *op)
{
	return op->pb->status >= (Lxmgr__V1__OperationStatus)LX_OP_SUCCESS;
}

void lx_op_notify(struct lx_op *op)
{
	struct lx_op_watcher *w, *next;
	TAILQ_FOREACH_SAFE (w, &op->watchers, link, next)
		w->changed(op, w->arg);
}

void lx_op_announce(struct lx_op *op, const char *action)
{
	const char *fields[] = { "kind",  op->pb->kind,  "subject", op->pb->subject, "phase", op->pb->phase,
				 "error", op->pb->error, NULL };
	lx_event(op->m, "operation", action, op->pb->project, op->pb->id, op->pb->node, fields);
}

struct lx_op *lx_op_new(struct lx_manager *m, const struct lx_op_kind *kind, const char *project,
			const char *subject, const ProtobufCMessage *args, const char *request_id,
			const struct lx_peer *peer, struct lx_err *err)
{
	char id[LX_UUID_TEXT], user[128] = "";
	struct lx_op *op = calloc(1, sizeof(*op));
	if (!op || lx_uuid(id) < 0)
		goto oom;
	TAILQ_INIT(&op->watchers);
	op->m = m;
	op->kind = kind;
	op->pb = malloc(sizeof(*op->pb));
	if (!op->pb)
		goto oom;
	lxmgr__v1__operation__init(op->pb);
	if (peer)
		lx_gate_user(m, peer, user, sizeof(user));
	op->args = args ? lx_pb_dup(args) : NULL;
	if ((args && !op->args) || lx_pb_set(&op->pb->id, id) < 0 ||
	    lx_pb_set(&op->pb->kind, kind->name) < 0 || lx_pb_set(&op->pb->subject, subject) < 0 ||
	    lx_pb_set(&op->pb->project, project) < 0 || lx_pb_set(&op->pb->request_id, request_id) < 0 ||
	    lx_pb_set(&op->pb->user, user) < 0)
		goto oom;
	op->pb->created_at_ns = (int64_t)lx_now_realtime_ns();
	op->pb->cancellable = true;
	lx_op_set_status(op, LX_OP_PENDING);
	return op;
oom:
	lx_op_free(op);
	lx_err_oom(err);
	return NULL;
}

void lx_op_settle(struct lx_op *op, bool succeeded, const struct lx_err *why, int64_t at_ns)
{
	op->pb->outcome_open = false;
	if (succeeded)
		lx_op_set_status(op, LX_OP_SUCCESS);
	op->pb->error_code = succeeded ? 0 : (int32_t)why->code;
	lx_pb_set(&op->pb->error, succeeded ? NULL : why->msg);
	lx_pb_set(&op->pb->hint, succeeded ? NULL : why->hint);
	op->pb->updated_at_ns = at_ns;
	lx_op_announce(op, "operation-settled");
}

static void timer_closed(uv_handle_t *h)
{
	free(h);
}

void lx_op_drop_timer(struct lx_op *op)
{
	if (!op->timer)
		return;
	op->timer->data = NULL;
	uv_close((uv_handle_t *)op->timer, timer_closed);
	op->timer = NULL;
}

void lx_op_release_instance(struct lx_op *op)
{
	struct lx_inst *inst = op->inst;

	op->inst = NULL;
	if (!inst || inst->op != op)
		return;
	inst->op = NULL;
	lx_pb_set(&inst->pb->operation, NULL);
	lx_inst_touch(op->m, inst);
	lx_inst_tell_next(op->m, inst);
}

void lx_op_free(void *p)
{
	struct lx_op *op = p;
	if (!op)
		return;
	lx_op_drop_timer(op);
	lx_op_release_instance(op);
	lx_pb_free(op->pb);
	lx_pb_free(op->args);
	free(op->data);
	free(op);
}

int lx_op_claim(struct lx_op *op, struct lx_inst *inst, struct lx_err *err)
{
	if (inst->op && inst->op != op) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION,
				   "instance %s is busy: %s is under way (operation %s)", inst->pb->name,
				   inst->op->pb->kind, inst->op->pb->id);
		lx_err_hint(
			err,
			"Wait for it (lxmgr operation wait %.8s) or cancel it (lxmgr operation cancel %.8s).",
			inst->op->pb->id, inst->op->pb->id);
		return r;
	}
	op->inst = inst;
	inst->op = op;
	lx_inst_touch(op->m, inst);
	if (lx_pb_set(&op->pb->node, inst->pb->node) < 0 || lx_pb_set(&inst->pb->operation, op->pb->id) < 0)
		return lx_err_oom(err);
	return 0;
}

void lx_op_progress(struct lx_op *op, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
	if (phase && !lx_streq(op->pb->phase, phase))
		lx_pb_set(&op->pb->phase, phase);
	if (unit && !lx_streq(op->pb->progress_unit, unit))
		lx_pb_set(&op->pb->progress_unit, unit);
	op->pb->progress_done = done;
	op->pb->progress_total = total;
	op->pb->updated_at_ns = (int64_t)lx_now_realtime_ns();
	lx_op_notify(op);
}

void lx_op_phase(struct lx_op *op, const char *phase)
{
	lx_op_progress(op, phase, 0, 0, "");
}

int lx_op_result(struct lx_op *op, const char *key, const char *value)
{
	return lx_pb_map_set(&lxmgr__v1__operation__result_entry__descriptor, &op->pb->n_result,
			     &op->pb->result, key, value);
}

void lx_op_watch(struct lx_op *op, struct lx_op_watcher *w)
{
	w->op = op;
	TAILQ_INSERT_TAIL(&op->watchers, w, link);
}

void lx_op_unwatch(struct lx_op_watcher *w)
{
	if (!w->op)
		return;
	TAILQ_REMOVE(&w->op->watchers, w, link);
	w->op = NULL;
}

struct lx_op *lx_op_find(struct lx_manager *m, const char *id,
			 bool (*sees)(const struct lx_op *op, void *arg), void *arg, struct lx_err *err)
{
	struct lx_op *found = lx_map_get(&m->ops, id);
	if (found && sees(found, arg))
		return found;
	found = NULL;
	if (strlen(id) >= 4) {
		for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e)) {
			if (!lx_starts_with(lx_map_key(e), id) || !sees(lx_map_value(e), arg))
				continue;
			if (found) {
				lx_err_set(err, LX_INVALID_ARGUMENT, "operation id %s is ambiguous", id);
				lx_err_hint(err, "Give more digits; lxmgr operation list shows them.");
				return NULL;
			}
			found = lx_map_value(e);
		}
	}
	if (!found) {
		lx_err_set(err, LX_NOT_FOUND, "there is no operation %s", id);
		lx_err_hint(err, "lxmgr operation list --all shows those under way and the last ones.");
	}
	return found;
}

int lx_op_cancel(struct lx_op *op, struct lx_err *err)
{
	if (lx_op_ended(op))
		return lx_err_set(err, LX_FAILED_PRECONDITION, "operation %s has already ended", op->pb->id);
	if (op->ending)
		return lx_err_set(err, LX_FAILED_PRECONDITION, "operation %s is just ending", op->pb->id);
	op->cancelled = true;
	if (op->parked || op->pb->status == (Lxmgr__V1__OperationStatus)LX_OP_PENDING) {
		if (!op->accepted)
			return 0; /* on_accepted ends it */
		op->parked = false;
		struct lx_err e = LX_ERR_INIT;
		lx_err_set(&e, LX_CANCELLED, "cancelled while waiting for node %s", op->pb->node);
		if (op->kind->cancel)
			op->kind->cancel(op);
		lx_op_end(op, &e, NULL, NULL);
		return 0;
	}
	if (!op->kind->cancel || !op->pb->cancellable) {
		op->cancelled = false;
		return lx_err_set(err, LX_FAILED_PRECONDITION,
				  "operation %s (%s) cannot be cancelled any more", op->pb->id, op->pb->kind);
	}
	op->kind->cancel(op);
	return 0;
}
