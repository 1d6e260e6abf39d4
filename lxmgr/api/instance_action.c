/*
 * Start, stop, restart, freeze, unfreeze, delete: is it a state in which the verb makes sense,
 * is nobody else at it, then an operation.
 */
#include "lxmgr/api/instances.h"

#include "lib/cleanup.h"
#include "lxmgr/api/accept.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"

/* Is the instance in a state in which the verb makes sense? */
static int check_state(const struct lx_op_kind *kind, const struct lx_inst *inst, bool force,
		       struct lx_err *err)
{
	const char *name = inst->pb->name, *status = lx_inst_status_name(inst->pb->status);
	enum { UP, DOWN, OTHER } is;

	switch (inst->pb->status) {
	case LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING:
	case LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN:
		is = UP;
		break;
	case LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED:
		is = DOWN;
		break;
	default:
		is = OTHER;
	}
	if (kind == &lx_op_start && is == UP) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is already running", name);
		if (inst->pb->status == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN)
			lx_err_hint(err, "It is frozen. Thaw it with: lxmgr unfreeze %s", name);
	} else if (kind == &lx_op_stop && is == DOWN) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is already stopped", name);
	} else if ((kind == &lx_op_restart || kind == &lx_op_freeze || kind == &lx_op_unfreeze) &&
		   is == DOWN) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is not running (%s)", name, status);
		lx_err_hint(err, "Start it first: lxmgr start %s", name);
	} else if (kind == &lx_op_freeze &&
		   inst->pb->status == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is already frozen", name);
	} else if (kind == &lx_op_unfreeze &&
		   inst->pb->status == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is not frozen", name);
	} else if (kind == &lx_op_stop && !force &&
		   inst->pb->status == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is frozen and cannot shut down", name);
		lx_err_hint(err, "Thaw it first (lxmgr unfreeze %s), or use --force.", name);
	} else if (kind == &lx_op_delete && !force && is == UP) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is running", name);
		lx_err_hint(err, "Stop it first (lxmgr stop %s), or use --force.", name);
	} else {
		return 0;
	}
	return lx_code_errno(err->code);
}

static void act(struct lx_call *call, const ProtobufCMessage *msg, struct lx_manager *m,
		const struct lx_op_kind *kind)
{
	const Lxmgr__V1__InstanceActionRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_op *op = NULL;
	struct lx_inst *inst;

	if (lx_api_repeated(m, call, req->request_id, kind, req->name))
		return;
	inst = lx_inst_find(m, lx_call_project(call), req->name, &err);
	if (!inst || check_state(kind, inst, req->force, &err) < 0)
		goto fail;
	op = lx_op_new(m, kind, inst->pb->project, req->name, msg, req->request_id, lx_call_peer(call), &err);
	if (!op || lx_op_claim(op, inst, &err) < 0)
		goto fail;
	if (lx_api_accept(call, lx_move_ptr(op), NULL, &err) == 0)
		return;
fail:
	lx_op_free(op);
	lx_call_fail(call, &err);
}

#define POWER_METHOD(verb)                                                                                   \
	void lx_api_instance_##verb(struct lx_call *call, const ProtobufCMessage *msg, void *arg)            \
	{                                                                                                    \
		act(call, msg, arg, &lx_op_##verb);                                                          \
	}

POWER_METHOD(start)
POWER_METHOD(stop)
POWER_METHOD(restart)
POWER_METHOD(freeze)
POWER_METHOD(unfreeze)
POWER_METHOD(delete)
