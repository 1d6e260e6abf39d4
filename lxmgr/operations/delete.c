/*
 * instance.delete: the agent removes everything, then row and leases go in the same
 * transaction that ends the operation. Deleting what the agent does not know is success.
 */
#include "lxmgr/operations/operation.h"

#include "lib/str.h"
#include "proto/pb.h"

static void forget(struct lx_op *op)
{
	struct lx_inst *inst = op->inst;
	if (!inst)
		return;
	inst->op = NULL;
	op->inst = NULL;
	lx_inst_remove(op->m, inst);
	lx_event(op->m, "lifecycle", "instance-deleted", op->pb->project, op->pb->subject, op->pb->node,
		 NULL);
}

static void on_deleted(struct lx_op *op, const ProtobufCMessage *resp, const struct lx_err *err)
{
	if (err->code != LX_OK && err->code != LX_NOT_FOUND) {
		if (op->inst)
			lx_pb_set(&op->inst->pb->last_error, err->msg);
		lx_op_end(op, err, NULL, NULL);
		return;
	}
	struct lx_txn *txn = lx_txn_new(NULL);
	if (txn && op->inst) {
		lx_txn_exec(txn, "DELETE FROM instances WHERE uuid = ?1");
		lx_txn_text(txn, op->inst->pb->uuid);
	}
	lx_op_end(op, NULL, txn, forget);
}

static void delete_run(struct lx_op *op)
{
	const Lxmgr__V1__InstanceActionRequest *args = (void *)op->args;

	if (!op->inst) { /* a restart between the commit and the answer */
		lx_op_end(op, NULL, NULL, NULL);
		return;
	}
	op->pb->cancellable = false;
	lx_op_phase(op, "delete");
	Lxmgr__V1__AgentInstanceRequest req = LXMGR__V1__AGENT_INSTANCE_REQUEST__INIT;
	req.operation = op->pb->id;
	req.name = op->inst->key;
	req.generation = op->inst->pb->generation;
	req.force = args->force;
	lx_op_agent_call(op, op->inst->pb->node, "DeleteInstance", &req.base, on_deleted);
}

const struct lx_op_kind lx_op_delete = {
	.name = "instance.delete",
	.args = &lxmgr__v1__instance_action_request__descriptor,
	.run = delete_run,
};
