/*
 * From the wish to move an instance to the operation that will: where to, may it be, is nobody
 * else at it. For clients' requests (api/instance_move.c) and for evacuations (evacuate.c).
 */
#include "lxmgr/operations/move.h"

#include <errno.h>

#include "lib/str.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

/* The node it goes to; NULL with err filled. */
static struct lx_node *find_target(struct lx_manager *m, const struct lx_inst *inst,
				   const Lxmgr__V1__MoveInstanceRequest *req, struct lx_err *err)
{
	if (lx_str_empty(req->target))
		return lx_place_move(m, inst, inst->pb->node, err);
	struct lx_node *n = lx_node_find(m, req->target, err);

	if (n && lx_streq(inst->pb->node, req->target)) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is on node %s already", req->name,
			   req->target);
		return NULL;
	}
	if (n && !lx_node_online(n)) {
		lx_err_set(err, LX_UNAVAILABLE, "node %s is offline: %s", req->target, n->pb->status_reason);
		lx_err_hint(err, "Choose another node, or start lxagentd there.");
		return NULL;
	}
	return n;
}

int lx_move_check_options(Lxmgr__V1__LiveMode live, uint32_t timeout_seconds, struct lx_err *err)
{
	if (timeout_seconds > LX_MOVE_TIMEOUT_SECONDS_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a time-out of %u s is more than %u",
				  timeout_seconds, LX_MOVE_TIMEOUT_SECONDS_MAX);
	if ((unsigned)live > LXMGR__V1__LIVE_MODE__LIVE_MODE_OFF)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "there is no live mode %u", (unsigned)live);
	return 0;
}

static int check_request(const struct lx_inst *inst, const Lxmgr__V1__MoveInstanceRequest *req,
			 struct lx_err *err)
{
	const char *name = inst->pb->name;
	int r = lx_move_check_options(req->live, req->timeout_seconds, err);

	if (r == 0 && req->postcopy && (req->stateless || req->live == LXMGR__V1__LIVE_MODE__LIVE_MODE_OFF))
		r = lx_err_set(err, LX_INVALID_ARGUMENT,
			       "post-copy is a way of moving live, which was excluded");
	if (r < 0)
		return r;
	switch (inst->pb->status) {
	case LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING:
	case LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED:
		return 0;
	case LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN:
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is frozen", name);
		lx_err_hint(err, "Thaw it first: lxmgr unfreeze %s", name);
		break;
	case LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_UNKNOWN:
		lx_err_set(err, LX_UNAVAILABLE, "instance %s is on node %s, which is offline", name,
			   inst->pb->node);
		lx_err_hint(err, "It can be moved when its node is back: lxmgr node list");
		break;
	default:
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is %s", name,
			   lx_inst_status_name(inst->pb->status));
		lx_err_hint(err, "It can be moved when it is running or stopped: lxmgr info %s", name);
	}
	return lx_code_errno(err->code);
}

int lx_move_find(struct lx_manager *m, const char *project, const Lxmgr__V1__MoveInstanceRequest *req,
		 struct lx_inst **ret_inst, struct lx_node **ret_target, struct lx_err *err)
{
	struct lx_inst *inst = lx_inst_find(m, project, req->name, err);
	int r = inst ? check_request(inst, req, err) : -ENOENT;
	struct lx_node *target = r == 0 ? find_target(m, inst, req, err) : NULL;

	if (!target)
		return r < 0 ? r : -ENOENT;
	*ret_inst = inst;
	*ret_target = target;
	return 0;
}

struct lx_op *lx_move_new(struct lx_manager *m, const char *project,
			  const Lxmgr__V1__MoveInstanceRequest *req, const struct lx_peer *peer,
			  struct lx_err *err)
{
	Lxmgr__V1__MoveInstanceRequest *args = NULL;
	struct lx_node *target = NULL;
	struct lx_inst *inst = NULL;
	struct lx_op *op = NULL;

	if (lx_move_find(m, project, req, &inst, &target, err) < 0)
		return NULL;
	args = LX_PB_DUP(Lxmgr__V1__MoveInstanceRequest, req);
	if (!args || lx_pb_set(&args->target, target->pb->name) < 0) {
		lx_err_oom(err);
		goto fail;
	}
	op = lx_op_new(m, &lx_op_move, inst->pb->project, req->name, &args->base, req->request_id, peer, err);
	if (!op || lx_op_claim(op, inst, err) < 0)
		goto fail;
	lx_pb_free(args);
	return op;
fail:
	lx_pb_free(args);
	lx_op_free(op);
	return NULL;
}
