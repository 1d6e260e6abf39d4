/*
 * instance.launch: make an instance on a node and, when asked, boot it.
 *
 *   accepted: row, id range and leases are in the store (one transaction with the journal)
 *   image:    the node has it, or fetches it from one that does (image_fetch.c)
 *   create:   agent CreateInstance(start): one call does all, and is idempotent
 *   end:      SUCCESS, or undo: agent DeleteInstance, rows and leases away, FAILURE
 *
 * Killed anywhere, it is run again from the journal: CreateInstance of what exists is success.
 */
#include "lxmgr/operations/operation.h"

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

/* Why it is being undone: kept until the agent has cleaned up. */
struct undo {
	struct lx_err why;
};

static void forget(struct lx_op *op)
{
	struct lx_inst *inst = op->inst;
	if (!inst)
		return;
	inst->op = NULL;
	op->inst = NULL;
	lx_inst_remove(op->m, inst);
}

static void end_undone(struct lx_op *op)
{
	struct undo *u = op->data;
	struct lx_txn *txn = op->inst ? lx_txn_new(NULL) : NULL;
	if (txn) {
		lx_txn_exec(txn, "DELETE FROM instances WHERE uuid = ?1");
		lx_txn_text(txn, op->inst->pb->uuid);
	}
	lx_op_end(op, &u->why, txn, forget);
}

static void on_undone(struct lx_op *op, const ProtobufCMessage *resp, const struct lx_err *err)
{
	struct undo *u = op->data;
	if (err->code != LX_OK && err->code != LX_NOT_FOUND) {
		/* What is left on the node is named; nothing is forgotten while it may exist. */
		lx_err_wrap(&u->why, "%s", op->pb->subject);
		lx_err_hint(&u->why,
			    "Cleaning up failed as well (%s). Remove it with: lxmgr delete --force %s",
			    err->msg, op->pb->subject);
		if (op->inst) {
			lx_pb_set(&op->inst->pb->last_error, u->why.msg);
			op->inst->pending = false;
			lx_inst_set_status(op->m, op->inst, LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_ERROR,
					   err->msg);
		}
		lx_op_end(op, &u->why, NULL, NULL);
		return;
	}
	end_undone(op);
}

static void undo(struct lx_op *op, const struct lx_err *why)
{
	struct undo *u = op->data;
	if (!u) {
		u = malloc(sizeof(*u));
		if (!u) {
			lx_op_end(op, why, NULL, NULL);
			return;
		}
		u->why = *why;
		op->data = u;
	}
	op->pb->cancellable = false;
	lx_op_phase(op, "undo");
	Lxmgr__V1__AgentInstanceRequest req = LXMGR__V1__AGENT_INSTANCE_REQUEST__INIT;
	req.operation = op->pb->id;
	req.name = op->inst->key;
	req.generation = op->inst->pb->generation;
	req.force = true;
	lx_op_agent_call(op, op->inst->pb->node, "DeleteInstance", &req.base, on_undone);
}

static void on_created(struct lx_op *op, const ProtobufCMessage *resp, const struct lx_err *err)
{
	if (err->code != LX_OK) {
		undo(op, err);
		return;
	}
	const Lxmgr__V1__InstanceReport *report = (const Lxmgr__V1__InstanceReport *)(const void *)resp;
	struct lx_node *node = lx_map_get(&op->m->nodes, op->inst->pb->node);
	op->inst->pending = false;
	if (node)
		lx_inst_report(op->m, node, report);
	lx_op_result(op, "name", op->pb->subject);
	const char *fields[] = { "image", op->inst->pb->image, NULL };
	lx_event(op->m, "lifecycle", "instance-created", op->pb->project, op->pb->subject, op->pb->node,
		 fields);
	lx_op_end(op, NULL, NULL, NULL);
}

static void create(struct lx_op *op)
{
	const Lxmgr__V1__CreateInstanceRequest *args = (void *)op->args;
	struct lx_err err = LX_ERR_INIT;

	op->pb->cancellable = false;
	lx_op_phase(op, args->start ? "create and start" : "create");

	Lxmgr__V1__InstanceSpec *spec = lx_inst_spec(op->inst, args->start);
	if (!spec) {
		lx_err_oom(&err);
		undo(op, &err);
		return;
	}
	Lxmgr__V1__AgentCreateInstanceRequest req = LXMGR__V1__AGENT_CREATE_INSTANCE_REQUEST__INIT;
	req.operation = op->pb->id;
	req.spec = spec;
	req.start = args->start;
	lx_op_agent_call(op, op->inst->pb->node, "CreateInstance", &req.base, on_created);
	lx_pb_free(spec);
}

static void on_image(struct lx_op *op, const struct lx_err *err)
{
	if (err->code == LX_OK)
		create(op);
	else
		undo(op, err);
}

static void launch_run(struct lx_op *op)
{
	struct lx_err err = LX_ERR_INIT;

	if (!op->inst) {
		lx_err_set(&err, LX_INTERNAL, "instance %s is not in the store", op->pb->subject);
		lx_op_end(op, &err, NULL, NULL);
		return;
	}
	if (op->data) { /* parked in the middle of undoing */
		struct undo *u = op->data;
		undo(op, &u->why);
		return;
	}
	if (op->cancelled) {
		lx_err_set(&err, LX_CANCELLED, "cancelled");
		undo(op, &err);
		return;
	}
	struct lx_node *node = lx_map_get(&op->m->nodes, op->inst->pb->node);
	op->inst->pending = true;
	if (!node) {
		lx_op_park(op, op->inst->pb->node, NULL); /* which ends it */
		return;
	}
	op->pb->cancellable = true;
	lx_op_need_image(op, node, op->inst->pb->image_fingerprint, on_image);
}

const struct lx_op_kind lx_op_launch = {
	.name = "instance.launch",
	.args = &lxmgr__v1__create_instance_request__descriptor,
	.run = launch_run,
	.cancel = lx_op_cancel_fetch,
};
