/*
 * instance.snapshot-restore: what an instance was becomes what it is.
 *
 *   restore     the agent stops it and puts the snapshot's files in place of its own
 *   configure   its configuration becomes the snapshot's: store, memory, agent
 *   start       when it ran before
 *
 * Files first: they may not fit. When that fails nothing has changed, and what ran is started again. After
 * it there is only forward. The agent remembers the last one it has done, so that running this again takes
 * nothing away that was written since.
 *
 * The configuration was found to be possible before anything was done; should it have become impossible
 * meanwhile, the instance keeps the present one, and the operation says so.
 */
#include <stdlib.h>

#include "lib/str.h"
#include "lxmgr/api/update.h"
#include "lxmgr/operations/snapshot.h"
#include "lxmgr/snapshot.h"
#include "proto/pb.h"

/* op->data: what it will end with, once what ran runs again. */
struct restoring {
	struct lx_err why;
	bool restored;
};

static const Lxmgr__V1__SnapshotRestoration *args_of(const struct lx_op *op)
{
	return (const void *)op->args;
}

static void end(struct lx_op *op)
{
	const struct restoring *x = op->data;

	if (op->inst)
		lx_pb_set(&op->inst->pb->last_error, x->why.code == LX_OK ? NULL : x->why.msg);
	if (x->restored)
		lx_snapshot_event(op, "instance-snapshot-restored", args_of(op)->snapshot);
	lx_op_end(op, &x->why, NULL, NULL);
}

/* ------------------------------------------------------------------ start */

static void on_started(struct lx_op *op, const ProtobufCMessage *msg, const struct lx_err *err)
{
	struct restoring *x = op->data;
	struct lx_node *node = lx_map_get(&op->m->nodes, op->inst->pb->node);

	if (err->code == LX_OK && node)
		lx_inst_report(op->m, node, (const Lxmgr__V1__InstanceReport *)(const void *)msg);
	if (err->code != LX_OK && x->why.code == LX_OK) {
		x->why = *err;
		lx_err_wrap(&x->why, "snapshot %s is restored, but", args_of(op)->snapshot);
	} else if (err->code != LX_OK) {
		lx_err_wrap(&x->why, "%s was stopped, and does not start again (%s)", op->pb->subject,
			    err->msg);
	}
	end(op);
}

static void start(struct lx_op *op)
{
	Lxmgr__V1__AgentInstanceRequest req = LXMGR__V1__AGENT_INSTANCE_REQUEST__INIT;

	if (!args_of(op)->start) {
		end(op);
		return;
	}
	lx_op_phase(op, "start");
	req.operation = op->pb->id;
	req.name = op->inst->key;
	req.generation = op->inst->pb->generation;
	lx_op_agent_call(op, op->inst->pb->node, "StartInstance", &req.base, on_started);
}

/* ------------------------------------------------------------------ configure */

static void not_configured(struct lx_op *op, const struct lx_err *why)
{
	struct restoring *x = op->data;

	x->why = *why;
	lx_err_wrap(&x->why, "the files of %s are those of snapshot %s, its configuration is as it was",
		    op->pb->subject, args_of(op)->snapshot);
	start(op);
}

static void on_told(struct lx_op *op, const ProtobufCMessage *msg, const struct lx_err *err)
{
	if (err->code == LX_OK)
		op->inst->untold = false;
	/* Else it is told when the operation has ended. */
	start(op);
}

static void tell(struct lx_op *op)
{
	Lxmgr__V1__AgentUpdateInstanceRequest req = LXMGR__V1__AGENT_UPDATE_INSTANCE_REQUEST__INIT;
	struct lx_err err = LX_ERR_INIT;

	req.operation = op->pb->id;
	req.spec = lx_inst_spec(op->inst, false);
	if (!req.spec) {
		lx_err_oom(&err);
		not_configured(op, &err);
		return;
	}
	lx_op_agent_call(op, op->inst->pb->node, "UpdateInstance", &req.base, on_told);
	lx_pb_free(req.spec);
}

static void on_stored(struct lx_inst *inst, size_t n_restart, char *const *restart, const struct lx_err *err,
		      void *arg)
{
	struct lx_op *op = arg;

	if (op->ending || lx_op_ended(op) || op->m->stopping)
		return;
	if (err->code == LX_OK)
		tell(op);
	else
		not_configured(op, err);
}

static void configure(void *arg)
{
	struct lx_op *op = arg;
	struct lx_err err = LX_ERR_INIT;

	if (op->ending || lx_op_ended(op) || op->m->stopping || !op->inst)
		return;
	const Lxmgr__V1__Snapshot *snapshot = lx_snapshot_find(op->inst, args_of(op)->snapshot, &err);
	Lxmgr__V1__Instance *next = snapshot ? lx_snapshot_applied(op->m, op->inst, snapshot, &err) : NULL;

	lx_op_phase(op, "configure");
	if (!next || lx_inst_reapply_in_operation(op->m, op->inst, next, on_stored, op, &err) < 0)
		not_configured(op, &err);
}

/* ------------------------------------------------------------------ restore */

static void on_restored(struct lx_op *op, const ProtobufCMessage *msg, const struct lx_err *err)
{
	const Lxmgr__V1__AgentSnapshotResponse *resp = (const void *)msg;
	struct restoring *x = op->data;
	struct lx_node *node = lx_map_get(&op->m->nodes, op->inst->pb->node);

	if (err->code == LX_OK && node && resp->instance)
		lx_inst_report(op->m, node, resp->instance);
	if (err->code != LX_OK) {
		x->why = *err;
		lx_snapshot_explain(op, &x->why);
		start(op);
		return;
	}
	x->restored = true;
	/* A change like any other: in its turn. */
	if (lx_turn_take_own(op->m, true, configure, op) < 0) {
		struct lx_err oom = LX_ERR_INIT;

		lx_err_oom(&oom);
		not_configured(op, &oom);
	}
}

static void restore_run(struct lx_op *op)
{
	Lxmgr__V1__AgentSnapshotRequest req = LXMGR__V1__AGENT_SNAPSHOT_REQUEST__INIT;
	struct lx_err err = LX_ERR_INIT;

	if (!lx_snapshot_begin(op, "restore"))
		return;
	free(op->data);
	op->data = calloc(1, sizeof(struct restoring));
	if (!op->data) {
		lx_err_oom(&err);
		lx_op_end(op, &err, NULL, NULL);
		return;
	}
	req.snapshot = args_of(op)->snapshot;
	lx_snapshot_call(op, "RestoreSnapshot", &req, on_restored);
}

const struct lx_op_kind lx_op_snapshot_restore = {
	.name = "instance.snapshot-restore",
	.args = &lxmgr__v1__snapshot_restoration__descriptor,
	.run = restore_run,
};
