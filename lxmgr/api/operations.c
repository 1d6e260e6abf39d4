/* OperationService: list, get, watch, cancel. */
#include "lxmgr/operations/operation.h"

#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/auth/auth.h"

#define LIST_DEFAULT 100u
#define LIST_MAX     LX_OP_KEEP_ENDED

static bool sees(const struct lx_op *op, void *arg)
{
	return lx_scope_sees(arg, op->pb->project);
}

/* By its id, of those that the call may see. */
static struct lx_op *find(struct lx_manager *m, struct lx_call *call, const char *id, struct lx_err *err)
{
	struct lx_scope scope;

	lx_scope_of(m, call, &scope);
	return lx_op_find(m, id, sees, &scope, err);
}

static void api_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_manager *m = arg;
	const Lxmgr__V1__ListOperationsRequest *req = (const void *)msg;
	Lxmgr__V1__ListOperationsResponse resp = LXMGR__V1__LIST_OPERATIONS_RESPONSE__INIT;
	size_t n = lx_map_count(&m->ops), limit = req->limit ? req->limit : LIST_DEFAULT, ended = 0, skip;

	struct lx_scope scope;

	lx_scope_of(m, call, &scope);
	lx_autofree Lxmgr__V1__Operation **list = calloc(n + 1, sizeof(*list));
	if (!list) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e))
		ended += lx_op_ended(lx_map_value(e)) && sees(lx_map_value(e), &scope);
	if (limit > LIST_MAX)
		limit = LIST_MAX;
	skip = ended > limit ? ended - limit : 0; /* oldest first: leave those out */
	resp.operations = list;
	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e)) {
		struct lx_op *op = lx_map_value(e);
		if (!sees(op, &scope))
			continue;
		if (lx_op_ended(op)) {
			if (!req->all)
				continue;
			if (skip) {
				skip--;
				continue;
			}
		}
		if (op->accepted)
			list[resp.n_operations++] = op->pb;
	}
	lx_call_reply(call, &resp.base);
}

static void api_get(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__OperationRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_op *op = find(arg, call, req->id, &err);
	if (op)
		lx_call_reply(call, &op->pb->base);
	else
		lx_call_fail(call, &err);
}

struct watch {
	struct lx_op_watcher w; /* first */
	struct lx_call *call;
};

static void on_changed(struct lx_op *op, void *arg)
{
	struct watch *w = arg;
	lx_call_send(w->call, &op->pb->base);
	if (lx_op_ended(op)) {
		lx_op_unwatch(&w->w);
		lx_call_fail(w->call, NULL);
	}
}

static void on_watch_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct watch *w = arg;
	lx_op_unwatch(&w->w);
	free(w);
}

static const struct lx_call_events watch_events = { .closed = on_watch_closed };

static void api_watch(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__OperationRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_op *op = find(arg, call, req->id, &err);
	struct watch *w = op ? calloc(1, sizeof(*w)) : NULL;

	if (!w) {
		if (op)
			lx_err_oom(&err);
		lx_call_fail(call, &err);
		return;
	}
	w->call = call;
	w->w.changed = on_changed;
	w->w.arg = w;
	lx_call_set_events(call, &watch_events, w);
	lx_call_send(call, &op->pb->base);
	if (lx_op_ended(op))
		lx_call_fail(call, NULL);
	else
		lx_op_watch(op, &w->w);
}

/* The gate has asked for the role in the call's project; the cluster's own needs it everywhere. */
static int check_cancel(const struct lx_manager *m, struct lx_call *call, const struct lx_op *op,
			struct lx_err *err)
{
	if (!lx_str_empty(op->pb->project) ||
	    lx_gate_role(m, lx_call_peer(call), NULL, NULL) >= LX_ROLE_OPERATOR)
		return 0;
	return lx_err_set(err, LX_PERMISSION_DENIED, "operation %s needs the role %s in all projects",
			  op->pb->id, lx_role_name(LX_ROLE_OPERATOR));
}

static void api_cancel(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__OperationRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_op *op = find(arg, call, req->id, &err);
	if (op && check_cancel(arg, call, op, &err) == 0 && lx_op_cancel(op, &err) == 0)
		lx_call_reply(call, &op->pb->base);
	else
		lx_call_fail(call, &err);
}

static const struct lx_method methods[] = {
	{ .name = "List", .unary = api_list },
	{ .name = "Get", .unary = api_get },
	{ .name = "Watch", .server_stream = true, .unary = api_watch },
	{ .name = "Cancel", .unary = api_cancel },
};

const struct lx_service lx_api_operations = { &lxmgr__v1__operation_service__descriptor, methods,
					      LX_ARRAY_SIZE(methods) };
