/* InstanceService.Move and CheckMove: an operation, or only the findings. */
#include "lxmgr/api/instances.h"

#include <stdlib.h>

#include "lxmgr/api/accept.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/operations/move.h"
#include "lxmgr/operations/operation.h"

void lx_api_instance_move(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__MoveInstanceRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;

	if (lx_api_repeated(m, call, req->request_id, &lx_op_move, req->name))
		return;
	struct lx_op *op = lx_move_new(m, lx_call_project(call), req, lx_call_peer(call), &err);

	if (!op || lx_api_accept(call, op, NULL, &err) < 0)
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
	struct lx_node *target = NULL;
	struct lx_inst *inst = NULL;
	struct asked *a = NULL;

	if (lx_move_find(m, lx_call_project(call), req, &inst, &target, &err) < 0)
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
