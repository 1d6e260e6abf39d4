/*
 * InstanceService.Create: everything is checked, then name, id range and addresses are taken
 * in memory, then one transaction stores them with the operation. A refusal at any point
 * gives all of it back.
 */
#include "lxmgr/api/instances.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/str.h"
#include "lxmgr/api/accept.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/api/device_role.h"
#include "lxmgr/api/rules.h"
#include "lxmgr/api/update.h"
#include "lxmgr/auth/audit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/quota.h"
#include "proto/pb.h"

/* A name nobody has to think of. */
static int pick_name(struct lx_manager *m, const char *project, char out[LX_NAME_MAX + 1], struct lx_err *err)
{
	static const char *const first[] = { "calm",  "brave", "clever", "eager",  "gentle", "happy",
					     "keen",  "lucky", "merry",  "nimble", "proud",  "quick",
					     "rapid", "sunny", "warm",   "wise" };
	static const char *const second[] = { "otter", "heron", "badger", "lynx",  "finch", "marten",
					      "raven", "trout", "stoat",  "swift", "crane", "hare",
					      "ibex",  "newt",  "robin",  "wren" };
	for (int i = 0; i < 100; i++) {
		uint32_t r;
		if (getrandom(&r, sizeof(r), 0) != sizeof(r))
			break;
		const char *a = first[r % LX_ARRAY_SIZE(first)], *b = second[r / 16 % LX_ARRAY_SIZE(second)];
		if (i < 20)
			snprintf(out, LX_NAME_MAX + 1, "%s-%s", a, b);
		else
			snprintf(out, LX_NAME_MAX + 1, "%s-%s-%u", a, b, r >> 16);
		if (!lx_inst_exists(m, project, out))
			return 0;
	}
	return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "no free name was found");
}

/* The request as an instance: own configuration, profiles, image. */
static int fill(Lxmgr__V1__Instance *pb, const Lxmgr__V1__CreateInstanceRequest *req, const char *project,
		const char *name, const Lxmgr__V1__Image *image, struct lx_err *err)
{
	struct lx_map config, devices;
	char uuid[LX_UUID_TEXT];
	int r = 0;

	lx_map_init(&config, free);
	lx_map_init(&devices, lx_pb_options_free);
	if (lx_uuid(uuid) < 0 || lx_pb_set(&pb->name, name) < 0 || lx_pb_set(&pb->uuid, uuid) < 0 ||
	    lx_pb_set(&pb->project, project) < 0 || lx_pb_set(&pb->image, req->image) < 0 ||
	    lx_pb_set(&pb->image_fingerprint, image->fingerprint) < 0 ||
	    lx_pb_set(&pb->image_description, image->description) < 0 ||
	    lx_pb_set(&pb->architecture, image->architecture) < 0 ||
	    lx_pb_map_to(req->n_config, req->config, &config) < 0 ||
	    lx_pb_devices_to(req->n_devices, req->devices, &devices) < 0 ||
	    lx_pb_map_from(&lxmgr__v1__instance__config_entry__descriptor, &pb->n_config, &pb->config,
			   &config) < 0 ||
	    lx_pb_devices_from(&lxmgr__v1__instance__devices_entry__descriptor, &pb->n_devices, &pb->devices,
			       &devices) < 0)
		r = lx_err_oom(err);
	if (r == 0 && req->n_profiles)
		r = lx_pb_strv_copy(&pb->n_profiles, &pb->profiles, req->n_profiles, req->profiles);
	else if (r == 0 && !req->no_profiles)
		r = lx_pb_strv_add(&pb->n_profiles, &pb->profiles, "default");
	pb->created_at_ns = (int64_t)lx_now_realtime_ns();
	pb->generation = 1;
	pb->status = LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_CREATING;
	lx_map_release(&config);
	lx_map_release(&devices);
	return r < 0 ? lx_err_oom(err) : 0;
}

static struct lx_txn *launch_txn(const struct lx_op *op, const struct lx_inst *inst)
{
	const Lxmgr__V1__Instance *pb = inst->pb;
	size_t len;
	lx_autofree uint8_t *spec = lx_inst_pack(pb, &len);
	struct lx_txn *txn = spec ? lx_txn_new(op->pb->id) : NULL;
	if (!txn)
		return NULL;
	lx_txn_exec(txn, "INSERT INTO instances (uuid, name, node, generation, idmap_base, image, spec)"
			 " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
	lx_txn_text(txn, pb->uuid);
	lx_txn_text(txn, inst->key);
	lx_txn_text(txn, pb->node);
	lx_txn_int(txn, (int64_t)pb->generation);
	lx_txn_int(txn, pb->idmap_base);
	lx_txn_text(txn, pb->image_fingerprint);
	lx_txn_blob(txn, spec, len);
	lx_txn_leases(txn, pb);
	return txn;
}

/* The reply of an accepted launch; a refused one takes the instance out of memory again. */
struct launch {
	struct lx_manager *m;
	struct lx_call *call; /* NULL when the client has gone */
};

static void launch_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct launch *)arg)->call = NULL;
}

static const struct lx_call_events launch_events = { .closed = launch_call_closed };

static void on_launch_accepted(struct lx_op *op, const struct lx_err *err, void *arg)
{
	struct launch *l = arg;
	struct lx_inst *inst = op->inst;

	if (err->code != LX_OK && inst) {
		inst->op = NULL;
		op->inst = NULL;
		lx_inst_remove(l->m, inst);
	}
	if (err->code == LX_OK)
		lx_link_apply_networks(l->m);
	if (l->call)
		lx_call_set_events(l->call, NULL, NULL);
	if (err->code != LX_OK)
		lx_audit_failed(l->call);
	lx_api_answer(l->call, &op->pb->base, err);
	lx_turn_release(l->m);
	free(l);
}

/* What is wrong with the request whatever there is already. */
static int check_request(struct lx_manager *m, const char *project,
			 const Lxmgr__V1__CreateInstanceRequest *req, struct lx_err *err)
{
	int r;

	if (req->n_profiles > MAX_PROFILES_PER_INSTANCE)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "more than %u profiles",
				  MAX_PROFILES_PER_INSTANCE);
	if ((r = lx_api_check_config(req->n_config, req->config, err)) < 0 ||
	    (r = lx_api_check_devices(m, project, req->n_devices, req->devices, err)) < 0)
		return r;
	if (!lx_str_empty(req->image))
		return 0;
	r = lx_err_set(err, LX_INVALID_ARGUMENT, "an instance needs an image");
	lx_err_hint(err, "lxmgr image list shows the images there are.");
	return r;
}

/* A name that nodes can have with the project's before it. */
static int check_name(const char *project, const char *name, struct lx_err *err)
{
	char key[LX_QNAME_MAX + 1];
	int r = lx_name_check("instance", name, err);

	if (r < 0 || lx_qname_make(project, name, key))
		return r;
	r = lx_err_set(err, LX_INVALID_ARGUMENT,
		       "invalid instance name \"%s\": it is longer than %zu characters", name,
		       LX_QNAME_MAX - 1 - strlen(project));
	lx_err_hint(err, "Nodes know it as %s%c%s, which has at most %d.", project, LX_QNAME_SEPARATOR, name,
		    LX_QNAME_MAX);
	return r;
}

static int check_free(struct lx_manager *m, const char *project, const char *name, struct lx_err *err)
{
	if (lx_inst_exists(m, project, name)) {
		int r = lx_err_set(err, LX_ALREADY_EXISTS, "instance %s already exists", name);
		lx_err_hint(err, "Choose another name, or remove it first: lxmgr delete %s", name);
		return r;
	}
	if (lx_map_count(&m->instances) >= LX_MAX_INSTANCES)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "there are %u instances already",
				  LX_MAX_INSTANCES);
	return 0;
}

/* The instance that the request describes, expanded and checked, on no node yet. NULL: refused. */
static Lxmgr__V1__Instance *draft(struct lx_manager *m, const char *project,
				  const Lxmgr__V1__CreateInstanceRequest *req, const char *name,
				  const Lxmgr__V1__Image **ret_image, struct lx_err *err)
{
	const Lxmgr__V1__Image *image =
		check_request(m, project, req, err) == 0 ? lx_image_find(m, project, req->image, err) : NULL;

	if (!image)
		return NULL;
	if (lx_image_is_going(m, image)) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "image %s is being deleted", req->image);
		return NULL;
	}
	Lxmgr__V1__Instance *pb = malloc(sizeof(*pb));

	if (!pb) {
		lx_err_oom(err);
		return NULL;
	}
	lxmgr__v1__instance__init(pb);
	if (fill(pb, req, project, name, image, err) < 0 || lx_inst_expand(m, pb, err) < 0 ||
	    lx_api_check_expanded(pb, err) < 0 || lx_project_check(m, project, &pb, 1, err) < 0) {
		lx_pb_free(pb);
		return NULL;
	}
	*ret_image = image;
	return pb;
}

static void create(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__CreateInstanceRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_op *op = NULL;
	struct lx_inst *inst = NULL;
	struct launch *l = NULL;
	Lxmgr__V1__Instance *pb = NULL;
	const Lxmgr__V1__Image *image = NULL;
	bool leased = false;
	char picked[LX_NAME_MAX + 1];
	const char *name = req->name, *project = lx_call_project(call);

	if (lx_api_repeated(m, call, req->request_id, &lx_op_launch, name))
		return;
	if (lx_str_empty(name)) {
		if (pick_name(m, project, picked, &err) < 0)
			goto fail;
		name = picked;
		lx_audit_about(call, name);
	}
	if (check_name(project, name, &err) < 0 || check_free(m, project, name, &err) < 0 ||
	    !(pb = draft(m, project, req, name, &image, &err)) ||
	    lx_api_check_device_role(m, call, req->n_devices, req->devices, 0, NULL, &err) < 0 ||
	    lx_api_check_config_role(m, call, req->n_config, req->config, 0, NULL, &err) < 0)
		goto fail;
	struct lx_node *node = lx_place_instance(m, pb, image, req->target, &err);
	if (!node)
		goto fail;
	if (lx_pb_set(&pb->node, node->pb->name) < 0) {
		lx_err_oom(&err);
		goto fail;
	}
	if (lx_leases_take(m, pb, &err) < 0)
		goto fail;
	leased = true;
	if (lx_api_is_privileged(pb))
		lx_audit_fact(call, LX_AUDIT_PRIVILEGED);

	op = lx_op_new(m, &lx_op_launch, project, name, msg, req->request_id, lx_call_peer(call), &err);
	l = calloc(1, sizeof(*l));
	if (!op || !l) {
		if (op)
			lx_err_oom(&err);
		goto fail;
	}
	/* In memory at once, so that a second request for the name or the lease is refused. */
	inst = lx_inst_add(m, lx_move_ptr(pb));
	if (!inst) {
		lx_err_oom(&err);
		goto fail;
	}
	inst->pending = true;
	struct lx_txn *txn = launch_txn(op, inst);
	if (!txn || lx_op_claim(op, inst, &err) < 0) {
		lx_txn_free(txn);
		if (err.code == LX_OK)
			lx_err_oom(&err);
		goto fail;
	}
	l->m = m;
	l->call = call;
	lx_call_set_events(call, &launch_events, l);
	lx_audit_into(m, call, txn);
	int r = lx_op_accept(op, txn, on_launch_accepted, l, &err);
	op = NULL;
	if (r == 0) {
		lx_turn_hold(m);
		return;
	}
	lx_audit_failed(call);
	lx_call_set_events(call, NULL, NULL);
fail:
	lx_op_free(op);
	if (inst) {
		inst->op = NULL;
		lx_inst_remove(m, inst);
	} else if (pb) {
		if (leased)
			lx_leases_give_back(m, pb);
		lx_pb_free(pb);
	}
	free(l);
	lx_call_fail(call, &err);
}

/* Beside others of its kind: names, ids and addresses are taken in memory at once. */
LX_TURN_METHOD(create_in_turn, false, create)

void lx_api_instance_create(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__CreateInstanceRequest *req = (const void *)msg;

	lx_api_check_rules(arg, call, msg, req->n_config, req->config, create_in_turn);
}

/* ------------------------------------------------------------------ explain */

void lx_api_instance_explain(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__CreateInstanceRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	const Lxmgr__V1__Image *image = NULL;
	Lxmgr__V1__Placement *placement = NULL;
	Lxmgr__V1__Instance *pb = NULL;
	bool named = !lx_str_empty(req->name), targeted = !lx_str_empty(req->target);
	const char *project = lx_call_project(call);

	if ((!named || check_name(project, req->name, &err) == 0) &&
	    (!targeted || lx_node_find(m, req->target, &err)))
		pb = draft(m, project, req, named ? req->name : "unnamed", &image, &err);
	if (pb) {
		placement = lx_place_explain(m, pb, image, req->target);
		if (!placement)
			lx_err_oom(&err);
	}
	if (placement)
		lx_call_reply(call, &placement->base);
	else
		lx_call_fail(call, &err);
	lx_pb_free(placement);
	lx_pb_free(pb);
}
