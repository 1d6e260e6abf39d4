/*
 * Exec, console log and files: the first message names the instance, everything is then
 * passed between the client and the instance's agent undecoded (rpc/proxy.h). An instance of
 * another project than the default one has another name there, which goes into the first message.
 */
#include "lxmgr/api/instances.h"

#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/auth/audit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/project.h"
#include "lxmgr/v1/stream.pb-c.h"
#include "proto/pb.h"
#include "rpc/proxy.h"
#include "rpc/text.h"
#include "rpc/unpack.h"

struct route {
	const char *path; /* the agent's method */
	const ProtobufCMessageDescriptor *first;
	/* Where the first message says which instance it is about; NULL: it does not. */
	char **(*instance)(const ProtobufCMessage *msg);
	bool must_run;
};

struct waiting {
	struct lx_manager *m;
	const struct route *route;
};

static const struct lx_call_events proxied = { 0 };

static int target(struct lx_manager *m, const struct route *route, const struct lx_inst *inst,
		  struct lx_channel **ret, struct lx_err *err)
{
	const char *name = inst->pb->name;
	struct lx_node *node = lx_node_find(m, inst->pb->node, err);
	if (!node)
		return lx_code_errno(err->code);
	if (!lx_node_online(node)) {
		int r = lx_err_set(err, LX_UNAVAILABLE,
				   "instance %s cannot be reached: node %s is offline (%s)", name,
				   node->pb->name, node->pb->status_reason);
		lx_err_hint(err, "lxmgr node list shows when it is back.");
		return r;
	}
	if (route->must_run && inst->pb->status != LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING) {
		bool frozen = inst->pb->status == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN;
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is not running (%s)", name,
				   lx_inst_status_name(inst->pb->status));
		lx_err_hint(err, "%s it first: lxmgr %s %s", frozen ? "Thaw" : "Start",
			    frozen ? "unfreeze" : "start", name);
		return r;
	}
	*ret = node->channel;
	return 0;
}

/* What is asked for, of a first message that names an instance: for the audit log. */
static const ProtobufCMessage *asked(const ProtobufCMessage *msg)
{
	if (msg->descriptor == &lxmgr__v1__exec_request__descriptor)
		return &((const Lxmgr__V1__ExecRequest *)(const void *)msg)->start->base;
	if (msg->descriptor == &lxmgr__v1__push_file_request__descriptor)
		return &((const Lxmgr__V1__PushFileRequest *)(const void *)msg)->start->base;
	return msg;
}

/* The message as the agent is to have it: `bytes` themselves, or packed anew (*ret_own, malloc'ed). */
static int readdress(const ProtobufCMessage *msg, char **name, const struct lx_inst *inst,
		     struct lx_bytes *bytes, uint8_t **ret_own, struct lx_err *err)
{
	char *given = *name;

	if (lx_streq(given, inst->key))
		return 0;
	*name = (char *)(uintptr_t)inst->key;
	*ret_own = lx_pb_pack(msg, &bytes->len);
	*name = given;
	bytes->data = *ret_own;
	return *ret_own ? 0 : lx_err_oom(err);
}

static void on_first(struct lx_call *call, struct lx_bytes bytes, void *arg)
{
	lx_autofree struct waiting *w = arg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_channel *channel = NULL;
	struct lx_unpacked first = { 0 };
	lx_autofree uint8_t *own = NULL;
	char **name = NULL;

	lx_call_set_events(call, &proxied, NULL);
	if (lx_rpc_unpack(&first, w->route->first, bytes, &err) == 0 &&
	    lx_text_check(w->route->first, bytes, &err) == 0) {
		name = w->route->instance(first.msg);
		const struct lx_inst *inst =
			name ? lx_inst_find(w->m, lx_call_project(call), *name, &err) : NULL;
		if (!name)
			lx_err_set(&err, LX_INVALID_ARGUMENT, "the first message must name an instance");
		if (inst && target(w->m, w->route, inst, &channel, &err) == 0)
			readdress(first.msg, name, inst, &bytes, &own, &err);
	}
	if (err.code == LX_INVALID_ARGUMENT)
		lx_err_wrap(&err, "%s", lx_call_method(call));
	if (name)
		lx_audit_message(w->m, call, asked(first.msg));
	lx_unpacked_release(&first);
	if (err.code != LX_OK) {
		lx_call_fail(call, &err);
		return;
	}
	lx_audit_now(w->m, call);
	lx_rpc_proxy(call, channel, w->route->path, bytes, false, NULL, NULL, NULL);
}

static void on_half_closed(struct lx_call *call, void *arg)
{
	lx_call_set_events(call, &proxied, NULL);
	free(arg);
	lx_call_failf(call, LX_INVALID_ARGUMENT, "%s needs a first message", lx_call_method(call));
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	free(arg);
}

static const struct lx_call_events waiting_events = {
	.bytes = on_first,
	.half_closed = on_half_closed,
	.closed = on_closed,
};

static void wait_first(struct lx_call *call, struct lx_manager *m, const struct route *route)
{
	struct waiting *w = malloc(sizeof(*w));
	if (!w) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	*w = (struct waiting){ m, route };
	lx_call_set_events(call, &waiting_events, w);
}

/* ------------------------------------------------------------------ the routes */

static char **of_exec(const ProtobufCMessage *msg)
{
	const Lxmgr__V1__ExecRequest *r = (const void *)msg;
	return r->what_case == LXMGR__V1__EXEC_REQUEST__WHAT_START ? &r->start->instance : NULL;
}

static char **of_console_log(const ProtobufCMessage *msg)
{
	return &((Lxmgr__V1__ConsoleLogRequest *)(uintptr_t)msg)->instance;
}

static char **of_push(const ProtobufCMessage *msg)
{
	const Lxmgr__V1__PushFileRequest *r = (const void *)msg;
	return r->what_case == LXMGR__V1__PUSH_FILE_REQUEST__WHAT_START ? &r->start->instance : NULL;
}

static char **of_pull(const ProtobufCMessage *msg)
{
	return &((Lxmgr__V1__PullFileRequest *)(uintptr_t)msg)->instance;
}

static char **of_delete(const ProtobufCMessage *msg)
{
	return &((Lxmgr__V1__DeleteFileRequest *)(uintptr_t)msg)->instance;
}

#define ROUTE(fn, method, type, of, run)                                                                     \
	void lx_api_##fn(struct lx_call *call, void *manager)                                                \
	{                                                                                                    \
		static const struct route route = { "/lxmgr.v1.AgentService/" method,                        \
						    &lxmgr__v1__##type##__descriptor, of, run };             \
		wait_first(call, manager, &route);                                                           \
	}

ROUTE(exec, "Exec", exec_request, of_exec, true)
ROUTE(console_log, "ConsoleLog", console_log_request, of_console_log, false)
ROUTE(push_file, "PushFile", push_file_request, of_push, false)
ROUTE(pull_file, "PullFile", pull_file_request, of_pull, false)
ROUTE(delete_file, "DeleteFile", delete_file_request, of_delete, false)
