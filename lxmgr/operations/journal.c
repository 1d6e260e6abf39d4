/*
 * What of an operation is written down: a row when it is accepted, before anything is done,
 * and its outcome when all is done. Phases and progress in between are memory only, because
 * every kind finds out where it was by asking idempotent calls again.
 */
#include "lxmgr/operations/engine.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

static const struct lx_op_kind *const kinds[] = {
	&lx_op_launch,
	&lx_op_start,
	&lx_op_stop,
	&lx_op_restart,
	&lx_op_freeze,
	&lx_op_unfreeze,
	&lx_op_delete,
	&lx_op_image_build,
	&lx_op_image_import,
	&lx_op_image_delete,
	&lx_op_move,
	&lx_op_image_fetch,
	&lx_op_evacuate,
	&lx_op_restore,
	&lx_op_snapshot_create,
	&lx_op_snapshot_delete,
	&lx_op_snapshot_rename,
	&lx_op_snapshot_restore,
};

static int journal_bind(struct lx_txn *txn, struct lx_op *op)
{
	size_t len;
	lx_autofree uint8_t *spec = lx_pb_pack(&op->pb->base, &len);
	if (!spec)
		return -ENOMEM;
	lx_txn_blob(txn, spec, len);
	return 0;
}

struct accept {
	struct lx_op *op;
	lx_op_accepted cb;
	void *arg;
};

/* Keeps memory bounded: forgets the oldest ended operations. */
static void forget_old(struct lx_manager *m)
{
	size_t n = lx_map_count(&m->ops);
	for (struct lx_map_entry *e = lx_map_first(&m->ops), *next; e && n > LX_OP_KEEP_ENDED; e = next) {
		next = lx_map_next(e);
		struct lx_op *op = lx_map_value(e);
		if (!lx_op_ended(op) || op->call || !TAILQ_EMPTY(&op->watchers))
			continue;
		if (!lx_str_empty(op->pb->request_id))
			lx_map_del(&m->ops_by_request, op->pb->request_id);
		lx_map_del(&m->ops, op->pb->id);
		n--;
	}
}

static void on_accepted(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	lx_autofree struct accept *a = arg;
	struct lx_op *op = a->op;
	struct lx_manager *m = op->m;

	if (err->code != LX_OK) {
		/* Nobody was told its id: as if it had never been. */
		lx_map_take(&m->ops, op->pb->id);
		if (!lx_str_empty(op->pb->request_id))
			lx_map_del(&m->ops_by_request, op->pb->request_id);
		op->pb->error_code = (int32_t)err->code;
		lx_pb_set(&op->pb->error, err->msg);
		lx_pb_set(&op->pb->hint, err->hint);
		lx_op_set_status(op, LX_OP_FAILURE);
		if (a->cb)
			a->cb(op, err, a->arg);
		lx_op_notify(op);
		lx_op_free(op);
		return;
	}
	op->accepted = true;
	lx_op_announce(op, "operation-accepted");
	if (a->cb)
		a->cb(op, err, a->arg);
	if (op->cancelled && !op->ending) {
		struct lx_err cancelled = LX_ERR_INIT;
		lx_err_set(&cancelled, LX_CANCELLED, "cancelled before it began");
		lx_op_end(op, &cancelled, NULL, NULL);
	} else {
		lx_op_run(op);
	}
}

int lx_op_accept(struct lx_op *op, struct lx_txn *txn, lx_op_accepted cb, void *arg, struct lx_err *err)
{
	struct lx_manager *m = op->m;
	int r = -ENOMEM;
	size_t len = 0;
	struct accept *a = malloc(sizeof(*a));
	lx_autofree uint8_t *args = op->args ? lx_pb_pack(op->args, &len) : NULL;

	if (!txn)
		txn = lx_txn_new(op->pb->id);
	if (!a || !txn || (op->args && !args))
		goto fail;
	*a = (struct accept){ op, cb, arg };

	lx_txn_exec(txn, "INSERT INTO operations (id, ended, updated_at, request_id, kind, args, spec)"
			 " VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6)");
	lx_txn_text(txn, op->pb->id);
	lx_txn_int(txn, op->pb->updated_at_ns);
	lx_txn_text(txn, lx_str_empty(op->pb->request_id) ? NULL : op->pb->request_id);
	lx_txn_text(txn, op->kind->name);
	lx_txn_blob(txn, args ? (const void *)args : "", len);
	if (journal_bind(txn, op) < 0)
		goto fail;

	if (lx_map_set(&m->ops, op->pb->id, op) < 0)
		goto fail;
	if (!lx_str_empty(op->pb->request_id) && lx_map_set(&m->ops_by_request, op->pb->request_id, op) < 0) {
		lx_map_take(&m->ops, op->pb->id);
		goto fail;
	}
	r = lx_store_submit(m->store, txn, on_accepted, a, err);
	if (r < 0) {
		lx_map_take(&m->ops, op->pb->id);
		if (!lx_str_empty(op->pb->request_id))
			lx_map_del(&m->ops_by_request, op->pb->request_id);
		free(a);
		lx_op_free(op);
	}
	return r;
fail:
	free(a);
	lx_txn_free(txn);
	lx_op_free(op);
	return lx_err_oom(err);
}

struct end {
	struct lx_op *op;
	unsigned to;
	void (*done)(struct lx_op *op);
};

/* It has ended: `err` is that of the journal. */
static void ended(struct lx_op *op, unsigned to, void (*done)(struct lx_op *op), const struct lx_err *err)
{
	if (err->code != LX_OK) {
		/*
		 * The work is done but the journal could not be told. In memory the operation has
		 * failed with that; after a restart it is run again, which its kind allows.
		 */
		lx_error("journal not written", "operation=%s kind=%s error=\"%s\"", op->pb->id, op->pb->kind,
			 err->msg);
		to = LX_OP_FAILURE;
		op->pb->error_code = (int32_t)err->code;
		lx_pb_set(&op->pb->error, err->msg);
		lx_pb_set(&op->pb->hint, err->hint);
	}
	if (done && err->code == LX_OK)
		done(op);
	lx_op_release_instance(op);
	lx_op_set_status(op, to);
	if (to == LX_OP_FAILURE)
		lx_warn("operation failed", "operation=%s kind=%s subject=%s node=%s error=\"%s\"",
			op->pb->id, op->pb->kind, op->pb->subject, op->pb->node, op->pb->error);
	struct lx_node *node = lx_map_get(&op->m->nodes, op->pb->node);
	if (op->kind && op->kind->makes_images && node)
		lx_node_drop_stray_images(node);
	lx_op_announce(op, "operation-ended");
	lx_op_notify(op);
	forget_old(op->m);
}

static void on_ended(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct end *end = arg;

	ended(end->op, end->to, end->done, err);
	free(end);
}

static int end_txn(struct lx_op *op, unsigned to, struct lx_txn *txn)
{
	/* What the journal keeps must already carry the final status. */
	Lxmgr__V1__OperationStatus now = op->pb->status;
	op->pb->status = (Lxmgr__V1__OperationStatus)to;
	op->pb->updated_at_ns = (int64_t)lx_now_realtime_ns();
	lx_txn_exec(txn, "UPDATE operations SET ended = 1, updated_at = ?1, spec = ?2 WHERE id = ?3");
	lx_txn_int(txn, op->pb->updated_at_ns);
	int r = journal_bind(txn, op);
	op->pb->status = now;
	lx_txn_text(txn, op->pb->id);
	if (++op->m->ended_ops >= LX_OP_PRUNE_EVERY) {
		op->m->ended_ops = 0;
		lx_txn_exec(txn,
			    "DELETE FROM operations WHERE ended = 1 AND updated_at < (SELECT updated_at"
			    " FROM operations WHERE ended = 1 ORDER BY updated_at DESC LIMIT 1 OFFSET ?1)");
		lx_txn_int(txn, LX_OP_KEEP_ENDED - 1);
	}
	return r;
}

void lx_op_end(struct lx_op *op, const struct lx_err *err, struct lx_txn *txn, void (*done)(struct lx_op *op))
{
	if (op->ending || lx_op_ended(op) || op->m->stopping) {
		lx_txn_free(txn);
		return;
	}
	op->ending = true;
	op->pb->cancellable = false;
	lx_op_drop_timer(op);

	unsigned to = !err || err->code == LX_OK  ? LX_OP_SUCCESS
		      : err->code == LX_CANCELLED ? LX_OP_CANCELLED
						  : LX_OP_FAILURE;
	if (to != LX_OP_SUCCESS) {
		op->pb->error_code = (int32_t)err->code;
		lx_pb_set(&op->pb->error, err->msg);
		lx_pb_set(&op->pb->hint, err->hint);
	}
	struct end *end = malloc(sizeof(*end));
	struct lx_err store_err = LX_ERR_INIT;
	int r = -ENOMEM;
	if (!txn)
		txn = lx_txn_new(NULL);
	if (end && txn && end_txn(op, to, txn) == 0) {
		*end = (struct end){ .op = op, .to = to, .done = done };
		r = lx_store_submit(op->m->store, lx_move_ptr(txn), on_ended, end, &store_err);
	}
	if (r == 0)
		return;
	free(end);
	lx_txn_free(txn);
	if (store_err.code == LX_OK)
		lx_err_oom(&store_err);
	ended(op, to, done, &store_err);
}

/* Columns: kind, args, spec. */
int lx_op_load(struct lx_manager *m, const struct lx_sql_value *cols, struct lx_err *err)
{
	Lxmgr__V1__Operation *pb = lxmgr__v1__operation__unpack(NULL, cols[2].len, cols[2].data);
	if (!pb)
		return lx_err_set(err, LX_DATA_LOSS, "an operation in the store cannot be read");
	const struct lx_op_kind *kind = NULL;
	for (size_t i = 0; i < LX_ARRAY_SIZE(kinds); i++)
		if (lx_streq(kinds[i]->name, pb->kind))
			kind = kinds[i];

	struct lx_op *op = calloc(1, sizeof(*op));
	if (!op || lx_map_set(&m->ops, pb->id, op) < 0) {
		free(op);
		lx_pb_free(pb);
		return lx_err_oom(err);
	}
	TAILQ_INIT(&op->watchers);
	op->m = m;
	op->kind = kind;
	op->pb = pb;
	op->accepted = op->resumed = true;
	/* Written before there were projects. */
	if (lx_str_empty(pb->project) && !lx_starts_with(pb->kind, "node.") &&
	    lx_pb_set(&pb->project, LX_PROJECT_DEFAULT) < 0)
		return lx_err_oom(err);
	if (!lx_str_empty(pb->request_id) && lx_map_set(&m->ops_by_request, pb->request_id, op) < 0)
		return lx_err_oom(err);
	if (lx_op_ended(op))
		return 0;

	struct lx_err why = LX_ERR_INIT;
	if (kind && kind->args) {
		op->args = protobuf_c_message_unpack(kind->args, NULL, cols[1].len, cols[1].data);
		if (!op->args)
			kind = NULL;
	}
	if (!kind) {
		lx_err_set(&why, LX_INTERNAL, "operation %s of kind %s cannot be resumed by this version",
			   pb->id, pb->kind);
		lx_op_end(op, &why, NULL, NULL);
		return 0;
	}
	struct lx_inst *inst = lx_starts_with(kind->name, "instance.")
				       ? lx_inst_find(m, pb->project, pb->subject, NULL)
				       : NULL;
	if (inst)
		lx_op_claim(op, inst, NULL);
	if (kind->needs_client) {
		lx_err_set(&why, LX_ABORTED, "the manager was restarted while %s was being sent",
			   pb->subject);
		lx_err_hint(&why, "Send it again.");
		lx_op_end(op, &why, NULL, NULL);
		return 0;
	}
	lx_info("resuming operation", "operation=%s kind=%s subject=%s node=%s", pb->id, pb->kind,
		pb->subject, pb->node);
	/* The nodes have not been heard yet: the work goes on when its node is back. */
	if (!lx_str_empty(pb->node))
		lx_op_park(op, pb->node, NULL);
	else
		lx_op_run(op);
	return 0;
}
