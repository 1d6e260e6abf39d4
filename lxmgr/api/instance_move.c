/* InstanceService.Move and CheckMove: where to, may it be, then an operation, or only the findings. */
#include "lxmgr/api/instances.h"

#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/api/accept.h"
#include "lxmgr/operations/move.h"
#include "lxmgr/operations/operation.h"
#include "proto/pb.h"

#define TIMEOUT_SECONDS_MAX 86400u

/* The node it goes to; NULL with err filled. */
static struct lx_node *find_target(struct lx_manager *m, const struct lx_inst *inst,
				   const Lxmgr__V1__MoveInstanceRequest *req, struct lx_err *err)
{
	if (lx_str_empty(req->target))
		return lx_place_move(m, inst, inst->pb->node, err);
	struct lx_node *n = lx_node_find(m, req->target, err);

	if (n && lx_streq(inst->pb->node, req->target)) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is on node %s already", req->name, req->target);
		return NULL;
	}
	if (n && !lx_node_online(n)) {
		lx_err_set(err, LX_UNAVAILABLE, "node %s is offline: %s", req->target, n->pb->status_reason);
		lx_err_hint(err, "Choose another node, or start lxagentd there.");
		return NULL;
	}
	return n;
}

static int check_request(const struct lx_inst *inst, const Lxmgr__V1__MoveInstanceRequest *req, struct lx_err *err)
{
	const char *name = inst->pb->name;

	if (req->timeout_seconds > TIMEOUT_SECONDS_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a time-out of %u s is more than %u",
				  req->timeout_seconds, TIMEOUT_SECONDS_MAX);
	switch (inst->pb->status) {
	case LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING:
	case LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED:
		return 0;
	case LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN:
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is frozen", name);
		lx_err_hint(err, "Thaw it first: lxmgr unfreeze %s", name);
		break;
	case LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_UNKNOWN:
		lx_err_set(err, LX_UNAVAILABLE, "instance %s is on node %s, which is offline", name, inst->pb->node);
		lx_err_hint(err, "It can be moved when its node is back: lxmgr node list");
		break;
	default:
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is %s", name,
			   lx_inst_status_name(inst->pb->status));
		lx_err_hint(err, "It can be moved when it is running or stopped: lxmgr info %s", name);
	}
	return lx_code_errno(err->code);
}

void lx_api_instance_move(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__MoveInstanceRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	Lxmgr__V1__MoveInstanceRequest *args = NULL;
	struct lx_err err = LX_ERR_INIT;
	struct lx_op *op = NULL;
	struct lx_inst *inst;
	struct lx_node *target = NULL;

	if (lx_api_repeated(m, call, req->request_id, &lx_op_move, req->name))
		return;
	inst = lx_inst_find(m, req->name, &err);
	if (!inst || check_request(inst, req, &err) < 0 || !(target = find_target(m, inst, req, &err)))
		goto fail;
	args = LX_PB_DUP(Lxmgr__V1__MoveInstanceRequest, req);
	if (!args || lx_pb_set(&args->target, target->pb->name) < 0) {
		lx_err_oom(&err);
		goto fail;
	}
	op = lx_op_new(m, &lx_op_move, req->name, &args->base, req->request_id, lx_call_peer(call), &err);
	if (!op || lx_op_claim(op, inst, &err) < 0)
		goto fail;
	lx_pb_free(args);
	args = NULL;
	if (lx_api_accept(call, lx_move_ptr(op), NULL, &err) == 0)
		return;
fail:
	lx_pb_free(args);
	lx_op_free(op);
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ check */

struct asked {
	struct lx_call *call; /* NULL: gone */
};

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct asked *)arg)->call = NULL;
}

static const struct lx_call_events events = { .closed = on_closed };

static void on_checked(const Lxmgr__V1__MoveCheck *check, const struct lx_err *err, void *arg)
{
	struct asked *a = arg;

	if (a->call) {
		lx_call_set_events(a->call, NULL, NULL);
		if (err->code == LX_OK)
			lx_call_reply(a->call, &check->base);
		else
			lx_call_fail(a->call, err);
	}
	free(a);
}

void lx_api_instance_check_move(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__MoveInstanceRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_inst *inst = lx_inst_find(m, req->name, &err);
	struct lx_node *target = NULL;
	struct asked *a = NULL;

	if (!inst || check_request(inst, req, &err) < 0 || !(target = find_target(m, inst, req, &err)))
		goto fail;
	a = calloc(1, sizeof(*a));
	if (!a) {
		lx_err_oom(&err);
		goto fail;
	}
	a->call = call;
	lx_call_set_events(call, &events, a);
	if (lx_move_check(m, inst, target->pb->name, req, on_checked, a, &err) == 0)
		return;
	lx_call_set_events(call, NULL, NULL);
fail:
	free(a);
	lx_call_fail(call, &err);
}
