/*
 * Instances in memory: adding, expanding, what the agents are told and what they
 * report. A report counts only when it comes from the instance's own node and speaks of the
 * same uuid: a stale agent cannot change what another one runs.
 */
#include "lxmgr/manager.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/project.h"
#include "lxmgr/warnings/warnings.h"
#include "profiles/profiles.h"
#include "proto/pb.h"

#define STATUS(s) LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_##s

struct lx_inst *lx_inst_add(struct lx_manager *m, Lxmgr__V1__Instance *pb)
{
	struct lx_inst *inst = calloc(1, sizeof(*inst));
	if (!inst)
		goto oom;
	inst->pb = pb;
	TAILQ_INIT(&inst->tells);
	lx_map_init(&inst->snapshots, lx_pb_free);
	if (lx_str_empty(pb->project) && lx_pb_set(&pb->project, LX_PROJECT_DEFAULT) < 0)
		goto oom;
	/* Fits: checked when it was made. */
	(void)lx_qname_make(pb->project, pb->name, inst->key);
	if (lx_map_set(&m->instances, inst->key, inst) < 0)
		goto oom;
	if (lx_map_set(&m->instances_by_uuid, pb->uuid, inst) < 0) {
		lx_map_take(&m->instances, inst->key);
		goto oom;
	}
	lx_inst_touch(m, inst);
	return inst;
oom:
	free(inst);
	lx_pb_free(pb);
	return NULL;
}

void lx_inst_free(void *p)
{
	struct lx_inst *inst = p;
	if (!inst)
		return;
	lx_pb_free(inst->pb);
	lx_pb_free(inst->arrived);
	lx_pb_free(inst->denials);
	lx_map_release(&inst->snapshots);
	free(inst->arriving_at);
	free(inst);
}

void lx_inst_remove(struct lx_manager *m, struct lx_inst *inst)
{
	lx_inst_tell_gone(inst);
	lx_warnings_remove_of(m, "instance", inst->key);
	lx_leases_give_back(m, inst->pb);
	lx_map_del(&m->instances_by_uuid, inst->pb->uuid);
	lx_map_del(&m->instances, inst->key);
	m->revision++;
	lx_link_apply_networks(m);
}

void lx_inst_touch(struct lx_manager *m, struct lx_inst *inst)
{
	m->revision++;
}

const char *lx_inst_status_name(Lxmgr__V1__InstanceStatus s)
{
	static const char *const names[] = { "Unspecified", "Creating", "Stopped", "Starting",
					     "Running",     "Freezing", "Frozen",  "Stopping",
					     "Deleting",    "Error",    "Unknown" };
	return s >= 0 && (size_t)s < sizeof(names) / sizeof(*names) ? names[s] : "Unknown";
}

void lx_inst_set_status(struct lx_manager *m, struct lx_inst *inst, Lxmgr__V1__InstanceStatus status,
			const char *reason)
{
	static const char *const actions[] = {
		[STATUS(STOPPED)] = "instance-stopped",   [STATUS(STARTING)] = "instance-starting",
		[STATUS(RUNNING)] = "instance-started",   [STATUS(FROZEN)] = "instance-frozen",
		[STATUS(STOPPING)] = "instance-stopping", [STATUS(ERROR)] = "instance-error",
		[STATUS(UNKNOWN)] = "instance-unknown",
	};
	Lxmgr__V1__InstanceStatus old = inst->pb->status;

	lx_pb_set(&inst->pb->status_reason, reason);
	inst->pb->status = status;
	lx_inst_touch(m, inst);
	if (old == status)
		return;
	const char *action = (size_t)status < sizeof(actions) / sizeof(*actions) ? actions[status] : NULL;
	/* Back from frozen is not a start. */
	if (status == STATUS(RUNNING) && (old == STATUS(FROZEN) || old == STATUS(FREEZING)))
		action = "instance-resumed";
	else if (status == STATUS(RUNNING) && old == STATUS(UNKNOWN))
		action = "instance-known";
	if (action) {
		const char *fields[] = { "status", lx_inst_status_name(status),
					 "was",    lx_inst_status_name(old),
					 "reason", inst->pb->status_reason,
					 NULL };
		lx_event(m, "lifecycle", action, inst->pb->project, inst->pb->name, inst->pb->node, fields);
	}
}

/* ------------------------------------------------------------------ expansion */

static void layer_release(struct lx_map *config, struct lx_map *devices)
{
	lx_map_release(config);
	lx_map_release(devices);
}

int lx_inst_expand(struct lx_manager *m, Lxmgr__V1__Instance *pb, struct lx_err *err)
{
	size_t n = pb->n_profiles + 1;
	struct lx_layer *layers = calloc(n, sizeof(*layers));
	struct lx_map *maps = calloc(n * 2, sizeof(*maps));
	char(*origins)[LX_NAME_MAX + 16] = calloc(n, sizeof(*origins));
	struct lx_expanded ex = { 0 };
	int r = 0;

	if (!layers || !maps || !origins) {
		r = lx_err_oom(err);
		goto out;
	}
	for (size_t i = 0; i < n; i++) {
		struct lx_map *config = &maps[2 * i], *devices = &maps[2 * i + 1];
		lx_map_init(config, free);
		lx_map_init(devices, lx_pb_options_free);
		layers[i].config = config;
		layers[i].devices = devices;
		layers[i].origin = origins[i];
		if (i == n - 1) {
			memcpy(origins[i], "instance", sizeof("instance"));
			r = lx_pb_map_to(pb->n_config, pb->config, config);
			r = r ? r : lx_pb_devices_to(pb->n_devices, pb->devices, devices);
		} else {
			const Lxmgr__V1__Profile *p = lx_profile_find(m, pb->project, pb->profiles[i], err);
			if (!p) {
				r = -ENOENT;
				goto out;
			}
			snprintf(origins[i], sizeof(origins[i]), "profile %s", p->name);
			r = lx_pb_map_to(p->n_config, p->config, config);
			r = r ? r : lx_pb_devices_to(p->n_devices, p->devices, devices);
		}
		if (r < 0) {
			lx_err_oom(err);
			goto out;
		}
	}
	r = lx_expand(layers, n, &ex, err);
	if (r < 0)
		goto out;
	if (lx_pb_map_from(&lxmgr__v1__instance__expanded_config_entry__descriptor, &pb->n_expanded_config,
			   &pb->expanded_config, &ex.config) < 0 ||
	    lx_pb_devices_from(&lxmgr__v1__instance__expanded_devices_entry__descriptor,
			       &pb->n_expanded_devices, &pb->expanded_devices, &ex.devices) < 0 ||
	    lx_pb_map_from(&lxmgr__v1__instance__origin_entry__descriptor, &pb->n_origin, &pb->origin,
			   &ex.origin) < 0)
		r = lx_err_oom(err);
	lx_expanded_release(&ex);
out:
	for (size_t i = 0; maps && i < n; i++)
		layer_release(&maps[2 * i], &maps[2 * i + 1]);
	free(layers);
	free(maps);
	free(origins);
	return r;
}

/* ------------------------------------------------------------------ what others get */

/* A copy without what is live or derived: what the store and the specs are made of. */
static void strip_live(Lxmgr__V1__Instance *pb)
{
	pb->status = STATUS(UNSPECIFIED);
	lx_pb_set(&pb->status_reason, NULL);
	lx_pb_set(&pb->operation, NULL);
	pb->started_at_ns = 0;
	pb->pid = 0;
	lx_pb_set(&pb->apparmor, NULL);
	pb->snapshots = 0;
	pb->snapshot_bytes = 0;
	lx_pb_free(pb->usage);
	pb->usage = NULL;
	lx_pb_map_clear(&pb->n_expanded_config, &pb->expanded_config);
	lx_pb_map_clear(&pb->n_expanded_devices, &pb->expanded_devices);
	lx_pb_map_clear(&pb->n_origin, &pb->origin);
}

uint8_t *lx_inst_pack(const Lxmgr__V1__Instance *pb, size_t *len)
{
	Lxmgr__V1__Instance *copy = LX_PB_DUP(Lxmgr__V1__Instance, pb);
	if (!copy)
		return NULL;
	strip_live(copy);
	uint8_t *bytes = lx_pb_pack(&copy->base, len);
	lx_pb_free(copy);
	return bytes;
}

Lxmgr__V1__InstanceSpec *lx_inst_spec(const struct lx_inst *inst, bool started)
{
	const Lxmgr__V1__Instance *pb = inst->pb;
	/* Borrow everything into a spec on the stack, then let a copy own its own. */
	Lxmgr__V1__InstanceSpec s = LXMGR__V1__INSTANCE_SPEC__INIT;
	s.name = (char *)(uintptr_t)inst->key;
	s.uuid = pb->uuid;
	s.generation = pb->generation;
	s.image_fingerprint = pb->image_fingerprint;
	s.idmap_base = pb->idmap_base;
	s.idmap_size = pb->idmap_size;
	s.created_at_ns = pb->created_at_ns;
	s.started = started;
	s.n_nics = pb->n_nics;
	s.nics = pb->nics;
	s.n_held_nics = pb->n_held_nics;
	s.held_nics = pb->held_nics;
	/* Entries of different map fields have the same shape and the same encoding. */
	s.n_config = pb->n_expanded_config;
	s.config = (Lxmgr__V1__InstanceSpec__ConfigEntry **)(void *)pb->expanded_config;
	s.n_devices = pb->n_expanded_devices;
	s.devices = (Lxmgr__V1__InstanceSpec__DevicesEntry **)(void *)pb->expanded_devices;
	return LX_PB_DUP(Lxmgr__V1__InstanceSpec, &s);
}
