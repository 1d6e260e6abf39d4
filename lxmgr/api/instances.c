/* InstanceService: which function answers what. */
#include "lxmgr/api/instances.h"

#include "lib/cleanup.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/project.h"

static void api_get(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__GetInstanceRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_inst *inst = lx_inst_find(arg, lx_call_project(call), req->name, &err);

	if (!inst) {
		lx_call_fail(call, &err);
		return;
	}
	Lxmgr__V1__Instance view = *inst->pb; /* shallow */

	if (inst->denials) {
		view.n_denials = inst->denials->n_counts;
		view.denials = inst->denials->counts;
	}
	lx_call_reply(call, &view.base);
}

static const struct lx_method methods[] = {
	{ .name = "Create", .unary = lx_api_instance_create },
	{ .name = "Explain", .unary = lx_api_instance_explain },
	{ .name = "Start", .unary = lx_api_instance_start },
	{ .name = "Stop", .unary = lx_api_instance_stop },
	{ .name = "Restart", .unary = lx_api_instance_restart },
	{ .name = "Freeze", .unary = lx_api_instance_freeze },
	{ .name = "Unfreeze", .unary = lx_api_instance_unfreeze },
	{ .name = "Delete", .unary = lx_api_instance_delete },
	{ .name = "List", .unary = lx_api_instance_list },
	{ .name = "Get", .unary = api_get },
	{ .name = "Update", .unary = lx_api_instance_update },
	{ .name = "Move", .unary = lx_api_instance_move },
	{ .name = "CheckMove", .unary = lx_api_instance_check_move },
	{ .name = "Exec", .client_stream = true, .server_stream = true, .raw = true, .open = lx_api_exec },
	{ .name = "ConsoleLog", .server_stream = true, .raw = true, .open = lx_api_console_log },
	{ .name = "PushFile", .client_stream = true, .raw = true, .open = lx_api_push_file },
	{ .name = "PullFile", .server_stream = true, .raw = true, .open = lx_api_pull_file },
	{ .name = "DeleteFile", .raw = true, .open = lx_api_delete_file },
};

const struct lx_service lx_api_instances = { &lxmgr__v1__instance_service__descriptor, methods,
					     LX_ARRAY_SIZE(methods) };
