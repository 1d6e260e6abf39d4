/*
 * SnapshotService: what can be refused is refused before anything is done, then an operation
 * (operations/snapshot.c, snapshot_restore.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/api/accept.h"
#include "lxmgr/api/device_role.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"
#include "lxmgr/snapshot.h"
#include "proto/pb.h"

#define DELETE_MAX 1000u /* at once */

#define STATUS(s) LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_##s

static bool runs(const struct lx_inst *inst)
{
	return inst->pb->status == STATUS(RUNNING) || inst->pb->status == STATUS(FROZEN);
}

/* Is it in a state in which its files can be had, and is its node there? */
static int check_state(const struct lx_inst *inst, struct lx_err *err)
{
	const Lxmgr__V1__Instance *pb = inst->pb;

	if (pb->status == STATUS(STOPPED) || runs(inst))
		return 0;
	if (pb->status == STATUS(UNKNOWN)) {
		lx_err_set(err, LX_UNAVAILABLE, "instance %s is on node %s, which is offline", pb->name,
			   pb->node);
		lx_err_hint(err, "Its snapshots are there, too: lxmgr node list shows when it is back.");
	} else {
		lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is %s", pb->name,
			   lx_inst_status_name(pb->status));
		lx_err_hint(err, "lxmgr info %s says more.", pb->name);
	}
	return lx_code_errno(err->code);
}

static struct lx_inst *find(struct lx_manager *m, struct lx_call *call, const char *name, struct lx_err *err)
{
	return lx_inst_find(m, lx_call_project(call), name, err);
}

/* Takes the instance in hand and answers with the operation. */
static void begin(struct lx_manager *m, struct lx_call *call, const struct lx_op_kind *kind,
		  struct lx_inst *inst, const ProtobufCMessage *args, const char *request_id)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_op *op = lx_op_new(m, kind, inst->pb->project, inst->pb->name, args, request_id,
				     lx_call_peer(call), &err);

	if (op && lx_op_claim(op, inst, &err) == 0) {
		if (lx_api_accept(call, op, NULL, &err) == 0)
			return;
	} else {
		lx_op_free(op);
	}
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ changing */

static int check_create(struct lx_manager *m, struct lx_inst *inst,
			const Lxmgr__V1__CreateSnapshotRequest *req, const char *name, struct lx_err *err)
{
	int r = lx_snapshot_check_new(inst, name, err);

	if (r == 0 && strlen(req->description) > LX_SNAPSHOT_DESCRIPTION_MAX)
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "the description is longer than %u bytes",
			       LX_SNAPSHOT_DESCRIPTION_MAX);
	if (r == 0)
		r = check_state(inst, err);
	/* Not while somebody else has it in hand, whose reservation it may be. */
	return r < 0 || inst->op ? r : lx_snapshot_reserve(m, inst, err);
}

static void create(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__CreateSnapshotRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	char name[LX_NAME_MAX + 1];

	if (lx_api_repeated(m, call, req->request_id, &lx_op_snapshot_create, req->instance))
		return;
	struct lx_inst *inst = find(m, call, req->instance, &err);
	Lxmgr__V1__CreateSnapshotRequest args = *req; /* shallow */

	if (inst && lx_str_empty(req->snapshot)) {
		lx_snapshot_pick_name(inst, name);
		args.snapshot = name;
	}
	if (!inst || check_create(m, inst, req, args.snapshot, &err) < 0) {
		lx_call_fail(call, &err);
		return;
	}
	bool reserved = !inst->op;

	begin(m, call, &lx_op_snapshot_create, inst, &args.base, req->request_id);
	if (reserved && !inst->op)
		lx_snapshot_count(m, inst);
}

static void restore(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__RestoreSnapshotRequest *req = (const void *)msg;
	Lxmgr__V1__SnapshotRestoration args = LXMGR__V1__SNAPSHOT_RESTORATION__INIT;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;

	if (lx_api_repeated(m, call, req->request_id, &lx_op_snapshot_restore, req->instance))
		return;
	struct lx_inst *inst = find(m, call, req->instance, &err);
	const Lxmgr__V1__Snapshot *s = inst ? lx_snapshot_find(inst, req->snapshot, &err) : NULL;
	Lxmgr__V1__Instance *next =
		s && check_state(inst, &err) == 0 ? lx_snapshot_applied(m, inst, s, &err) : NULL;

	/* What only an admin gives an instance, nobody else gives it back. */
	if (!next || lx_api_check_device_role(m, call, s->n_devices, s->devices, inst->pb->n_devices,
					      inst->pb->devices, &err) < 0) {
		lx_pb_free(next);
		lx_call_fail(call, &err);
		return;
	}
	lx_pb_free(next);
	args.snapshot = req->snapshot;
	args.start = runs(inst);
	begin(m, call, &lx_op_snapshot_restore, inst, &args.base, req->request_id);
}

static int check_delete(const struct lx_inst *inst, const Lxmgr__V1__DeleteSnapshotsRequest *req,
			struct lx_err *err)
{
	if (req->n_snapshots == 0 || req->n_snapshots > DELETE_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "1 to %u snapshots can be deleted at once, not %zu", DELETE_MAX,
				  req->n_snapshots);
	for (size_t i = 0; i < req->n_snapshots; i++)
		if (!lx_snapshot_find(inst, req->snapshots[i], err))
			return -ENOENT;
	return 0;
}

static void delete (struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__DeleteSnapshotsRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;

	if (lx_api_repeated(m, call, req->request_id, &lx_op_snapshot_delete, req->instance))
		return;
	struct lx_inst *inst = find(m, call, req->instance, &err);

	if (!inst || check_delete(inst, req, &err) < 0)
		lx_call_fail(call, &err);
	else
		begin(m, call, &lx_op_snapshot_delete, inst, msg, req->request_id);
}

static int check_rename(const struct lx_inst *inst, const Lxmgr__V1__RenameSnapshotRequest *req,
			struct lx_err *err)
{
	int r = lx_snapshot_find(inst, req->snapshot, err) ? 0 : -ENOENT;

	if (r == 0)
		r = lx_name_check("snapshot", req->new_name, err);
	if (r == 0 && lx_map_has(&inst->snapshots, req->new_name))
		r = lx_err_set(err, LX_ALREADY_EXISTS, "instance %s has a snapshot %s already",
			       inst->pb->name, req->new_name);
	return r;
}

static void rename_it(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__RenameSnapshotRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;

	if (lx_api_repeated(m, call, req->request_id, &lx_op_snapshot_rename, req->instance))
		return;
	struct lx_inst *inst = find(m, call, req->instance, &err);

	if (!inst || check_rename(inst, req, &err) < 0)
		lx_call_fail(call, &err);
	else
		begin(m, call, &lx_op_snapshot_rename, inst, msg, req->request_id);
}

/* ------------------------------------------------------------------ looking */

/* With the names that are not kept in it; everything is borrowed. */
static Lxmgr__V1__Snapshot view_of(const struct lx_inst *inst, const Lxmgr__V1__Snapshot *s)
{
	Lxmgr__V1__Snapshot view = *s;

	view.instance = inst->pb->name;
	view.project = inst->pb->project;
	return view;
}

static void get(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__SnapshotRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	const struct lx_inst *inst = find(arg, call, req->instance, &err);
	const Lxmgr__V1__Snapshot *s = inst ? lx_snapshot_find(inst, req->snapshot, &err) : NULL;

	if (!s) {
		lx_call_fail(call, &err);
		return;
	}
	Lxmgr__V1__Snapshot view = view_of(inst, s);

	lx_call_reply(call, &view.base);
}

static int by_age(const void *a, const void *b)
{
	const Lxmgr__V1__Snapshot *x = *(Lxmgr__V1__Snapshot *const *)a,
				  *y = *(Lxmgr__V1__Snapshot *const *)b;

	return x->created_at_ns != y->created_at_ns ? (x->created_at_ns > y->created_at_ns ? 1 : -1)
						    : strcmp(x->name, y->name);
}

static void list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ListSnapshotsRequest *req = (const void *)msg;
	Lxmgr__V1__ListSnapshotsResponse resp = LXMGR__V1__LIST_SNAPSHOTS_RESPONSE__INIT;
	struct lx_err err = LX_ERR_INIT;
	const struct lx_inst *inst = find(arg, call, req->instance, &err);

	if (!inst) {
		lx_call_fail(call, &err);
		return;
	}
	size_t n = lx_map_count(&inst->snapshots);
	lx_autofree Lxmgr__V1__Snapshot *views = calloc(n + 1, sizeof(*views));
	lx_autofree Lxmgr__V1__Snapshot **items = calloc(n + 1, sizeof(*items));

	if (!views || !items) {
		lx_err_oom(&err);
		lx_call_fail(call, &err);
		return;
	}
	for (struct lx_map_entry *e = lx_map_first(&inst->snapshots); e; e = lx_map_next(e)) {
		Lxmgr__V1__Snapshot *view = &views[resp.n_snapshots];

		*view = view_of(inst, lx_map_value(e));
		view->n_profiles = view->n_config = view->n_devices = 0;
		items[resp.n_snapshots++] = view;
	}
	if (n)
		qsort(items, n, sizeof(*items), by_age);
	resp.snapshots = items;
	lx_call_reply(call, &resp.base);
}

/* A quota may stand in the way of one more. */
LX_TURN_METHOD(create_in_turn, false, create)

static const struct lx_method methods[] = {
	{ .name = "Create", .unary = create_in_turn },
	{ .name = "List", .unary = list },
	{ .name = "Get", .unary = get },
	{ .name = "Restore", .unary = restore },
	{ .name = "Delete", .unary = delete },
	{ .name = "Rename", .unary = rename_it },
};

const struct lx_service lx_api_snapshots = { &lxmgr__v1__snapshot_service__descriptor, methods,
					     LX_ARRAY_SIZE(methods) };
