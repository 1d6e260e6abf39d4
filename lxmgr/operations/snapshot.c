/*
 * instance.snapshot-create, -delete, -rename: one idempotent call to the agent each, then the rows in the
 * transaction that ends the operation. Whom the agent's answer does not reach asks again.
 *
 * A snapshot whose operation was given up (its node was away for too long) may lie on the node without
 * anybody knowing it here: the next one that is made names those that are known, and it goes.
 */
#include "lxmgr/operations/snapshot.h"

#include <stdlib.h>

#include "lib/str.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/snapshot.h"
#include "proto/pb.h"

void lx_snapshot_explain(const struct lx_op *op, struct lx_err *err)
{
	if (err->code != LX_UNIMPLEMENTED)
		return;
	lx_err_set(err, LX_FAILED_PRECONDITION,
		   "node %s runs a version of lxmgr that knows nothing of snapshots", op->pb->node);
	lx_err_hint(err, "Bring it to the manager's version, or move the instance to another node.");
}

void lx_snapshot_event(const struct lx_op *op, const char *action, const char *snapshot)
{
	const char *fields[] = { "snapshot", snapshot, NULL };

	lx_event(op->m, "lifecycle", action, op->pb->project, op->pb->subject, op->pb->node, fields);
}

bool lx_snapshot_begin(struct lx_op *op, const char *phase)
{
	struct lx_err err = LX_ERR_INIT;

	if (!op->inst) {
		lx_err_set(&err, LX_NOT_FOUND, "instance %s does not exist any more", op->pb->subject);
		lx_op_end(op, &err, NULL, NULL);
		return false;
	}
	op->pb->cancellable = false;
	lx_op_phase(op, phase);
	return true;
}

void lx_snapshot_call(struct lx_op *op, const char *method, Lxmgr__V1__AgentSnapshotRequest *req,
		      lx_op_reply cb)
{
	req->operation = op->pb->id;
	req->name = op->inst->key;
	req->generation = op->inst->pb->generation;
	lx_op_agent_call(op, op->inst->pb->node, method, &req->base, cb);
}

static void end_oom(struct lx_op *op, struct lx_txn *txn)
{
	struct lx_err err = LX_ERR_INIT;

	lx_txn_free(txn);
	lx_err_oom(&err);
	lx_op_end(op, &err, NULL, NULL);
}

/* ------------------------------------------------------------------ create */

static void end_create_failed(struct lx_op *op, const struct lx_err *why)
{
	lx_snapshot_count(op->m, op->inst); /* what was reserved for it */
	lx_op_end(op, why, NULL, NULL);
}

static int borrow(const struct lx_op *op, const Lxmgr__V1__SnapshotRecord *made, Lxmgr__V1__Snapshot *ret)
{
	const Lxmgr__V1__CreateSnapshotRequest *args = (const void *)op->args;
	const Lxmgr__V1__Instance *pb = op->inst->pb;

	if (!made || !lx_streq(made->name, args->snapshot))
		return -EPROTO;
	ret->name = args->snapshot;
	ret->description = args->description;
	ret->created_at_ns = made->created_at_ns;
	ret->size_bytes = made->size_bytes;
	ret->image_fingerprint = pb->image_fingerprint;
	ret->n_profiles = pb->n_profiles;
	ret->profiles = pb->profiles;
	/* Entries of different map fields have the same shape and the same encoding. */
	ret->n_config = pb->n_config;
	ret->config = (Lxmgr__V1__Snapshot__ConfigEntry **)(void *)pb->config;
	ret->n_devices = pb->n_devices;
	ret->devices = (Lxmgr__V1__Snapshot__DevicesEntry **)(void *)pb->devices;
	return 0;
}

static void created(struct lx_op *op)
{
	Lxmgr__V1__Snapshot *pb = op->data;

	op->data = NULL;
	if (!op->inst) {
		lx_pb_free(pb);
		return;
	}
	lx_snapshot_event(op, "instance-snapshot-created", pb->name);
	(void)lx_snapshot_put(op->m, op->inst, pb); /* short of memory: from the next start on */
}

static void on_created(struct lx_op *op, const ProtobufCMessage *msg, const struct lx_err *cause)
{
	const Lxmgr__V1__AgentSnapshotResponse *resp = (const void *)msg;
	struct lx_err err = *cause;
	Lxmgr__V1__Snapshot pb = LXMGR__V1__SNAPSHOT__INIT;

	if (err.code == LX_OK && borrow(op, resp->snapshot, &pb) < 0)
		lx_err_set(&err, LX_INTERNAL, "node %s does not say what snapshot it has taken",
			   op->pb->node);
	if (err.code != LX_OK) {
		lx_snapshot_explain(op, &err);
		end_create_failed(op, &err);
		return;
	}
	struct lx_txn *txn = lx_txn_new(NULL);

	lx_pb_free(op->data);
	op->data = LX_PB_DUP(Lxmgr__V1__Snapshot, &pb);
	if (!txn || !op->data || lx_snapshot_insert(txn, op->inst, &pb) < 0) {
		end_oom(op, txn);
		return;
	}
	lx_op_result(op, "snapshot", pb.name);
	lx_op_end(op, NULL, txn, created);
}

static void create_run(struct lx_op *op)
{
	const Lxmgr__V1__CreateSnapshotRequest *args = (const void *)op->args;
	Lxmgr__V1__AgentSnapshotRequest req = LXMGR__V1__AGENT_SNAPSHOT_REQUEST__INIT;
	struct lx_err err = LX_ERR_INIT;

	if (!lx_snapshot_begin(op, "snapshot"))
		return;
	/* Again, after a restart; a quota that was lowered meanwhile does not end it. */
	(void)lx_snapshot_reserve(op->m, op->inst, NULL);
	char **known = calloc(lx_map_count(&op->inst->snapshots) + 2, sizeof(*known));

	if (!known) {
		lx_err_oom(&err);
		end_create_failed(op, &err);
		return;
	}
	for (struct lx_map_entry *e = lx_map_first(&op->inst->snapshots); e; e = lx_map_next(e))
		known[req.n_snapshots++] = (char *)(uintptr_t)lx_map_key(e);
	known[req.n_snapshots++] = args->snapshot;
	req.snapshots = known;
	req.snapshot = args->snapshot;
	lx_snapshot_call(op, "CreateSnapshot", &req, on_created);
	free(known);
}

const struct lx_op_kind lx_op_snapshot_create = {
	.name = "instance.snapshot-create",
	.args = &lxmgr__v1__create_snapshot_request__descriptor,
	.run = create_run,
};

/* ------------------------------------------------------------------ delete */

static void deleted(struct lx_op *op)
{
	const Lxmgr__V1__DeleteSnapshotsRequest *args = (const void *)op->args;

	for (size_t i = 0; op->inst && i < args->n_snapshots; i++) {
		lx_snapshot_remove(op->m, op->inst, args->snapshots[i]);
		lx_snapshot_event(op, "instance-snapshot-deleted", args->snapshots[i]);
	}
}

static void on_deleted(struct lx_op *op, const ProtobufCMessage *msg, const struct lx_err *cause)
{
	const Lxmgr__V1__DeleteSnapshotsRequest *args = (const void *)op->args;
	struct lx_err err = *cause;

	if (err.code != LX_OK) {
		lx_snapshot_explain(op, &err);
		lx_op_end(op, &err, NULL, NULL);
		return;
	}
	struct lx_txn *txn = lx_txn_new(NULL);

	for (size_t i = 0; txn && i < args->n_snapshots; i++)
		lx_snapshot_delete(txn, op->inst, args->snapshots[i]);
	if (txn)
		lx_op_end(op, NULL, txn, deleted);
	else
		end_oom(op, NULL);
}

static void delete_run(struct lx_op *op)
{
	const Lxmgr__V1__DeleteSnapshotsRequest *args = (const void *)op->args;
	Lxmgr__V1__AgentSnapshotRequest req = LXMGR__V1__AGENT_SNAPSHOT_REQUEST__INIT;

	if (!lx_snapshot_begin(op, "delete"))
		return;
	req.n_snapshots = args->n_snapshots;
	req.snapshots = args->snapshots;
	lx_snapshot_call(op, "DeleteSnapshots", &req, on_deleted);
}

const struct lx_op_kind lx_op_snapshot_delete = {
	.name = "instance.snapshot-delete",
	.args = &lxmgr__v1__delete_snapshots_request__descriptor,
	.run = delete_run,
};

/* ------------------------------------------------------------------ rename */

static void renamed(struct lx_op *op)
{
	const Lxmgr__V1__RenameSnapshotRequest *args = (const void *)op->args;
	Lxmgr__V1__Snapshot *pb = op->inst ? lx_map_take(&op->inst->snapshots, args->snapshot) : NULL;

	if (!pb)
		return;
	(void)lx_pb_set(&pb->name, args->new_name);
	(void)lx_snapshot_put(op->m, op->inst, pb);
	lx_snapshot_event(op, "instance-snapshot-renamed", args->new_name);
}

static void on_renamed(struct lx_op *op, const ProtobufCMessage *msg, const struct lx_err *cause)
{
	const Lxmgr__V1__RenameSnapshotRequest *args = (const void *)op->args;
	struct lx_err err = *cause;
	const Lxmgr__V1__Snapshot *pb =
		err.code == LX_OK ? lx_snapshot_find(op->inst, args->snapshot, &err) : NULL;

	if (!pb) {
		lx_snapshot_explain(op, &err);
		lx_op_end(op, &err, NULL, NULL);
		return;
	}
	Lxmgr__V1__Snapshot next = *pb; /* shallow */
	struct lx_txn *txn = lx_txn_new(NULL);

	next.name = args->new_name;
	if (txn)
		lx_snapshot_delete(txn, op->inst, args->snapshot);
	if (txn && lx_snapshot_insert(txn, op->inst, &next) == 0)
		lx_op_end(op, NULL, txn, renamed);
	else
		end_oom(op, txn);
}

static void rename_run(struct lx_op *op)
{
	const Lxmgr__V1__RenameSnapshotRequest *args = (const void *)op->args;
	Lxmgr__V1__AgentSnapshotRequest req = LXMGR__V1__AGENT_SNAPSHOT_REQUEST__INIT;

	if (!lx_snapshot_begin(op, "rename"))
		return;
	req.snapshot = args->snapshot;
	req.new_name = args->new_name;
	lx_snapshot_call(op, "RenameSnapshot", &req, on_renamed);
}

const struct lx_op_kind lx_op_snapshot_rename = {
	.name = "instance.snapshot-rename",
	.args = &lxmgr__v1__rename_snapshot_request__descriptor,
	.run = rename_run,
};
