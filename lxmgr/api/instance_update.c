/* InstanceService.Update: the changed copy is checked whole, then takes the way of update.c. */
#include "lxmgr/api/instances.h"

#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/api/device_role.h"
#include "lxmgr/api/disk_size.h"
#include "lxmgr/api/limits_check.h"
#include "lxmgr/api/rules.h"
#include "lxmgr/api/update.h"
#include "lxmgr/auth/audit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/quota.h"
#include "proto/pb.h"

struct update {
	struct lx_call *call;
};

static void update_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct update *)arg)->call = NULL;
}

static const struct lx_call_events update_events = { .closed = update_call_closed };

static void on_reapplied(struct lx_inst *inst, size_t n, char *const *restart, const struct lx_err *err,
			 void *arg)
{
	struct update *u = arg;
	if (u->call) {
		Lxmgr__V1__UpdateInstanceResponse resp = LXMGR__V1__UPDATE_INSTANCE_RESPONSE__INIT;
		resp.instance = inst ? inst->pb : NULL;
		resp.n_needs_restart = n;
		resp.needs_restart = (char **)(uintptr_t)restart;
		lx_call_set_events(u->call, NULL, NULL);
		if (err->code != LX_OK)
			lx_audit_failed(u->call);
		lx_api_answer(u->call, &resp.base, err);
	}
	free(u);
}

/* Applies the request to a copy of the instance. */
static int change(Lxmgr__V1__Instance *pb, const Lxmgr__V1__UpdateInstanceRequest *req, struct lx_err *err)
{
	struct lx_map devices;
	int r = 0;

	for (size_t i = 0; i < req->n_unset_config; i++) {
		if (!lx_pb_map_get(pb->n_config, pb->config, req->unset_config[i])) {
			r = lx_err_set(err, LX_NOT_FOUND, "instance %s does not set %s itself", pb->name,
				       req->unset_config[i]);
			lx_err_hint(err, "lxmgr info %s shows which profile a key comes from.", pb->name);
			return r;
		}
		lx_pb_map_del(&pb->n_config, &pb->config, req->unset_config[i]);
	}
	for (size_t i = 0; i < req->n_set_config && r == 0; i++)
		r = lx_pb_map_set(&lxmgr__v1__instance__config_entry__descriptor, &pb->n_config, &pb->config,
				  req->set_config[i]->key, req->set_config[i]->value);
	lx_map_init(&devices, lx_pb_options_free);
	if (r == 0)
		r = lx_pb_devices_to(pb->n_devices, pb->devices, &devices);
	for (size_t i = 0; i < req->n_remove_devices && r == 0; i++) {
		if (!lx_map_del(&devices, req->remove_devices[i])) {
			lx_map_release(&devices);
			r = lx_err_set(err, LX_NOT_FOUND, "instance %s has no device %s of its own", pb->name,
				       req->remove_devices[i]);
			lx_err_hint(err,
				    "One that comes from a profile is hidden with a device of type none.");
			return r;
		}
	}
	if (r == 0)
		r = lx_pb_devices_to(req->n_set_devices, req->set_devices, &devices);
	if (r == 0)
		r = lx_pb_devices_from(&lxmgr__v1__instance__devices_entry__descriptor, &pb->n_devices,
				       &pb->devices, &devices);
	if (r == 0 && req->replace_profiles)
		r = lx_pb_strv_copy(&pb->n_profiles, &pb->profiles, req->n_profiles, req->profiles);
	lx_map_release(&devices);
	return r < 0 ? lx_err_oom(err) : 0;
}

static void update(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__UpdateInstanceRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct update *u = NULL;
	Lxmgr__V1__Instance *copy = NULL;
	const char *project = lx_call_project(call);
	struct lx_inst *inst = lx_inst_find(m, project, req->name, &err);

	if (!inst || lx_api_check_config(req->n_set_config, req->set_config, &err) < 0 ||
	    lx_api_check_devices(m, project, req->n_set_devices, req->set_devices, &err) < 0 ||
	    lx_api_check_device_role(m, call, req->n_set_devices, req->set_devices, inst->pb->n_devices,
				     inst->pb->devices, &err) < 0 ||
	    lx_api_check_config_role(m, call, req->n_set_config, req->set_config, inst->pb->n_config,
				     inst->pb->config, &err) < 0)
		goto fail;
	if (req->n_profiles > MAX_PROFILES_PER_INSTANCE) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "more than %u profiles", MAX_PROFILES_PER_INSTANCE);
		goto fail;
	}
	if (inst->op) {
		lx_err_set(&err, LX_FAILED_PRECONDITION, "instance %s is busy: %s is under way", req->name,
			   inst->op->pb->kind);
		lx_err_hint(&err, "Wait for it: lxmgr operation wait %.8s", inst->op->pb->id);
		goto fail;
	}
	u = calloc(1, sizeof(*u));
	copy = LX_PB_DUP(Lxmgr__V1__Instance, inst->pb);
	if (!u || !copy) {
		lx_err_oom(&err);
		goto fail;
	}
	if (change(copy, req, &err) < 0 || lx_inst_expand(m, copy, &err) < 0 ||
	    lx_api_check_expanded(copy, &err) < 0 || lx_api_check_change(inst->pb, copy, &err) < 0 ||
	    lx_project_check(m, project, &copy, 1, &err) < 0)
		goto fail;
	u->call = call;
	lx_call_set_events(call, &update_events, u);
	if (lx_inst_reapply(m, call, inst, lx_move_ptr(copy), on_reapplied, u, &err) == 0)
		return;
	lx_call_set_events(call, NULL, NULL);
fail:
	lx_pb_free(copy);
	free(u);
	lx_call_fail(call, &err);
}

LX_TURN_METHOD(update_in_turn, true, update)

/* What the instance would become. NULL: it cannot, or what is to be asked about it is known to the turn. */
static Lxmgr__V1__Instance *with_change(struct lx_manager *m, const struct lx_inst *inst, const char *project,
					const Lxmgr__V1__UpdateInstanceRequest *req)
{
	Lxmgr__V1__Instance *changed = inst && !inst->op ? LX_PB_DUP(Lxmgr__V1__Instance, inst->pb) : NULL;

	if (changed && lx_api_check_config(req->n_set_config, req->set_config, NULL) == 0 &&
	    lx_api_check_devices(m, project, req->n_set_devices, req->set_devices, NULL) == 0 &&
	    change(changed, req, NULL) == 0 && lx_inst_expand(m, changed, NULL) == 0 &&
	    lx_api_check_expanded(changed, NULL) == 0)
		return changed;
	lx_pb_free(changed);
	return NULL;
}

/* Before the turn, which waits for no node. Whatever else is wrong the turn says. */
static void check_limits(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__UpdateInstanceRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	const char *project = lx_call_project(call);
	const struct lx_inst *inst = lx_inst_find(m, project, req->name, NULL);
	const struct lx_limits_change c = { inst, with_change(m, inst, project, req) };

	if (c.changed)
		lx_api_check_limits(m, call, msg, &c, 1, update_in_turn);
	else
		update_in_turn(call, msg, m);
	lx_pb_free(c.changed);
}

static void check_size(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__UpdateInstanceRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	const char *project = lx_call_project(call);
	const struct lx_inst *inst = lx_inst_find(m, project, req->name, NULL);
	Lxmgr__V1__Instance *changed = with_change(m, inst, project, req);

	if (changed)
		lx_api_check_disk_size(m, call, msg, inst, changed, check_limits);
	else
		update_in_turn(call, msg, m);
	lx_pb_free(changed);
}

void lx_api_instance_update(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__UpdateInstanceRequest *req = (const void *)msg;

	lx_api_check_rules(arg, call, msg, req->n_set_config, req->set_config, check_size);
}
