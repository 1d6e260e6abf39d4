/*
 * NodeService.Evacuate and Restore: the cordon changes in the transaction that journals the
 * operation, so that nothing new comes to a node that is being emptied.
 */
#include "lxmgr/api/nodes.h"

#include <stdlib.h>

#include "lib/str.h"
#include "lxmgr/api/accept.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/auth/audit.h"
#include "lxmgr/operations/evacuate.h"
#include "lxmgr/operations/move.h"
#include "lxmgr/operations/operation.h"
#include "proto/pb.h"

static int check(struct lx_manager *m, const struct lx_node *n, Lxmgr__V1__LiveMode live, uint32_t parallel,
		 uint32_t timeout_seconds, struct lx_err *err)
{
	const struct lx_op *other = lx_evacuation_of(m, n->pb->name);
	int r = lx_move_check_options(live, timeout_seconds, err);

	if (r < 0)
		return r;
	if (parallel > LX_EVACUATE_PARALLEL_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%u instances at a time are more than %u",
				  parallel, LX_EVACUATE_PARALLEL_MAX);
	if (other) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "node %s is busy: %s is under way (operation %s)",
			       n->pb->name, other->pb->kind, other->pb->id);
		lx_err_hint(err,
			    "Wait for it (lxmgr operation wait %.8s) or cancel it (lxmgr operation cancel "
			    "%.8s).",
			    other->pb->id, other->pb->id);
		return r;
	}
	if (!lx_node_online(n)) {
		r = lx_err_set(err, LX_UNAVAILABLE, "node %s is offline: %s", n->pb->name,
			       n->pb->status_reason);
		lx_err_hint(err, "lxmgr node list shows when it is back.");
		return r;
	}
	return 0;
}

static int check_target(struct lx_manager *m, const Lxmgr__V1__EvacuateNodeRequest *req, struct lx_err *err)
{
	if (lx_str_empty(req->target))
		return 0;
	const struct lx_node *target = lx_node_find(m, req->target, err);

	if (!target)
		return lx_code_errno(LX_NOT_FOUND);
	if (lx_streq(req->name, req->target))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "node %s cannot be evacuated to itself",
				  req->name);
	if (lx_node_online(target))
		return 0;
	int r = lx_err_set(err, LX_UNAVAILABLE, "node %s is offline: %s", req->target,
			   target->pb->status_reason);
	lx_err_hint(err, "Choose another node, or none: then the manager chooses for each instance.");
	return r;
}

/* ------------------------------------------------------------------ accepting it */

struct begun {
	struct lx_manager *m;
	struct lx_call *call; /* NULL: it does not wait any more */
	bool cordon;
};

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct begun *)arg)->call = NULL;
}

static const struct lx_call_events events = { .closed = on_closed };

static void on_begun(struct lx_op *op, const struct lx_err *err, void *arg)
{
	struct begun *b = arg;
	struct lx_node *n = lx_map_get(&b->m->nodes, op->pb->subject);

	if (err->code == LX_OK && n)
		lx_api_node_set_cordon(n, b->cordon);
	if (b->call)
		lx_call_set_events(b->call, NULL, NULL);
	if (err->code != LX_OK)
		lx_audit_failed(b->call);
	lx_api_answer(b->call, &op->pb->base, err);
	lx_turn_release(b->m);
	free(b);
}

static struct lx_txn *cordon_txn(const struct lx_node *n, bool cordon)
{
	Lxmgr__V1__Node *next = lx_api_node_lasting(n);
	struct lx_txn *txn = NULL;

	if (next) {
		next->cordoned = cordon;
		txn = lx_txn_named_spec("UPDATE nodes SET spec = ?2 WHERE name = ?1", n->pb->name,
					&next->base);
	}
	lx_pb_free(next);
	return txn;
}

/* Takes op over. */
static void begin(struct lx_manager *m, struct lx_call *call, const struct lx_node *n, struct lx_op *op,
		  bool cordon, struct lx_err *err)
{
	struct begun *b = op ? malloc(sizeof(*b)) : NULL;
	struct lx_txn *txn = b ? cordon_txn(n, cordon) : NULL;

	if (!txn || lx_pb_set(&op->pb->node, n->pb->name) < 0) {
		if (op)
			lx_err_oom(err);
		lx_txn_free(txn);
		lx_op_free(op);
		free(b);
		lx_call_fail(call, err);
		return;
	}
	*b = (struct begun){ m, call, cordon };
	lx_call_set_events(call, &events, b);
	lx_turn_hold(m);
	lx_audit_into(m, call, txn);
	if (lx_op_accept(op, txn, on_begun, b, err) == 0)
		return;
	lx_audit_failed(call);
	lx_turn_release(m);
	lx_call_set_events(call, NULL, NULL);
	free(b);
	lx_call_fail(call, err);
}

/* ------------------------------------------------------------------ methods */

static void evacuate(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__EvacuateNodeRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;

	if (lx_api_repeated(m, call, req->request_id, &lx_op_evacuate, req->name))
		return;
	const struct lx_node *n = lx_node_find(m, req->name, &err);

	if (!n || check(m, n, req->live, req->parallel, req->timeout_seconds, &err) < 0 ||
	    check_target(m, req, &err) < 0) {
		lx_call_fail(call, &err);
		return;
	}
	begin(m, call, n,
	      lx_op_new(m, &lx_op_evacuate, "", req->name, msg, req->request_id, lx_call_peer(call), &err),
	      true, &err);
}

static void restore(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__RestoreNodeRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;

	if (lx_api_repeated(m, call, req->request_id, &lx_op_restore, req->name))
		return;
	const struct lx_node *n = lx_node_find(m, req->name, &err);

	if (!n || check(m, n, req->live, req->parallel, req->timeout_seconds, &err) < 0) {
		lx_call_fail(call, &err);
		return;
	}
	begin(m, call, n,
	      lx_op_new(m, &lx_op_restore, "", req->name, msg, req->request_id, lx_call_peer(call), &err),
	      false, &err);
}

void lx_api_node_evacuate(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	lx_turn_take(arg, call, msg, true, evacuate);
}

void lx_api_node_restore(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	lx_turn_take(arg, call, msg, true, restore);
}
