/*
 * instance.start, stop, restart, freeze, unfreeze: one idempotent call to the agent each.
 * Arguments: InstanceActionRequest.
 */
#include "lxmgr/operations/operation.h"

#include "lib/str.h"
#include "proto/pb.h"

static void on_reply(struct lx_op *op, const ProtobufCMessage *resp, const struct lx_err *err)
{
	if (op->inst) {
		struct lx_node *node = lx_map_get(&op->m->nodes, op->inst->pb->node);
		if (err->code == LX_OK && node)
			lx_inst_report(op->m, node, (const Lxmgr__V1__InstanceReport *)(const void *)resp);
		lx_pb_set(&op->inst->pb->last_error, err->code == LX_OK ? NULL : err->msg);
	}
	lx_op_end(op, err, NULL, NULL);
}

static void ask(struct lx_op *op, const char *method, const char *phase)
{
	const Lxmgr__V1__InstanceActionRequest *args = (void *)op->args;
	struct lx_err err = LX_ERR_INIT;

	if (!op->inst) {
		lx_err_set(&err, LX_NOT_FOUND, "instance %s does not exist any more", op->pb->subject);
		lx_op_end(op, &err, NULL, NULL);
		return;
	}
	op->pb->cancellable = false;
	lx_op_phase(op, phase);
	Lxmgr__V1__AgentInstanceRequest req = LXMGR__V1__AGENT_INSTANCE_REQUEST__INIT;
	req.operation = op->pb->id;
	req.name = op->inst->key;
	req.generation = op->inst->pb->generation;
	req.force = args->force;
	req.timeout_seconds = args->timeout_seconds;
	lx_op_agent_call(op, op->inst->pb->node, method, &req.base, on_reply);
}

static void run_start(struct lx_op *op)
{
	ask(op, "StartInstance", "start");
}

static void run_stop(struct lx_op *op)
{
	ask(op, "StopInstance", "stop");
}

static void run_restart(struct lx_op *op)
{
	ask(op, "RestartInstance", "restart");
}

static void run_freeze(struct lx_op *op)
{
	ask(op, "FreezeInstance", "freeze");
}

static void run_unfreeze(struct lx_op *op)
{
	ask(op, "UnfreezeInstance", "unfreeze");
}

#define POWER_KIND(verb)                                                                                     \
	const struct lx_op_kind lx_op_##verb = {                                                             \
		.name = "instance." #verb,                                                                   \
		.args = &lxmgr__v1__instance_action_request__descriptor,                                     \
		.run = run_##verb,                                                                           \
	}

POWER_KIND(start);
POWER_KIND(stop);
POWER_KIND(restart);
POWER_KIND(freeze);
POWER_KIND(unfreeze);
