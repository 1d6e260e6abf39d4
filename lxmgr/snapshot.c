#include "lxmgr/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/api/update.h"
#include "lxmgr/quota.h"
#include "profiles/profiles.h"
#include "profiles/root_disk.h"
#include "proto/pb.h"

/* ------------------------------------------------------------------ memory */

void lx_snapshot_count(struct lx_manager *m, struct lx_inst *inst)
{
	inst->pb->snapshots = (uint32_t)lx_map_count(&inst->snapshots);
	inst->pb->snapshot_bytes = 0;
	for (struct lx_map_entry *e = lx_map_first(&inst->snapshots); e; e = lx_map_next(e))
		inst->pb->snapshot_bytes += ((const Lxmgr__V1__Snapshot *)lx_map_value(e))->size_bytes;
	lx_inst_touch(m, inst);
}

int lx_snapshot_put(struct lx_manager *m, struct lx_inst *inst, Lxmgr__V1__Snapshot *pb)
{
	int r = lx_map_set(&inst->snapshots, pb->name, pb);

	if (r < 0)
		lx_pb_free(pb);
	lx_snapshot_count(m, inst);
	return r;
}

void lx_snapshot_remove(struct lx_manager *m, struct lx_inst *inst, const char *name)
{
	lx_map_del(&inst->snapshots, name);
	lx_snapshot_count(m, inst);
}

Lxmgr__V1__Snapshot *lx_snapshot_find(const struct lx_inst *inst, const char *name, struct lx_err *err)
{
	Lxmgr__V1__Snapshot *found = lx_map_get(&inst->snapshots, name);

	if (found)
		return found;
	lx_err_set(err, LX_NOT_FOUND, "instance %s has no snapshot \"%.64s\"", inst->pb->name, name);
	lx_err_hint(err, "lxmgr snapshot list %s shows which it has.", inst->pb->name);
	return NULL;
}

/* ------------------------------------------------------------------ new ones */

static uint64_t most(const struct lx_inst *inst)
{
	const char *text =
		lx_pb_map_get(inst->pb->n_expanded_config, inst->pb->expanded_config, LX_KEY_SNAPSHOTS_MAX);
	struct lx_map empty = { 0 };
	uint64_t n = 0;

	(void)lx_parse_u64(text ? text : lx_config_get(&empty, LX_KEY_SNAPSHOTS_MAX), &n);
	return n;
}

int lx_snapshot_check_new(const struct lx_inst *inst, const char *name, struct lx_err *err)
{
	const char *of = inst->pb->name;
	int r = lx_name_check("snapshot", name, err);

	if (r < 0)
		return r;
	if (lx_map_has(&inst->snapshots, name)) {
		r = lx_err_set(err, LX_ALREADY_EXISTS, "instance %s has a snapshot %s already", of, name);
		lx_err_hint(err, "Choose another name, or delete it first: lxmgr snapshot delete %s %s", of,
			    name);
		return r;
	}
	if (lx_map_count(&inst->snapshots) < most(inst))
		return 0;
	r = lx_err_set(err, LX_RESOURCE_EXHAUSTED,
		       "instance %s has %zu snapshots, and " LX_KEY_SNAPSHOTS_MAX " allows no more", of,
		       lx_map_count(&inst->snapshots));
	lx_err_hint(err, "Delete one (lxmgr snapshot list %s), or set " LX_KEY_SNAPSHOTS_MAX " higher.", of);
	return r;
}

void lx_snapshot_pick_name(const struct lx_inst *inst, char ret[LX_NAME_MAX + 1])
{
	unsigned n = 0;

	do
		snprintf(ret, LX_NAME_MAX + 1, "snap%u", n++);
	while (lx_map_has(&inst->snapshots, ret));
}

int lx_snapshot_reserve(struct lx_manager *m, struct lx_inst *inst, struct lx_err *err)
{
	uint64_t size = lx_root_disk_size(inst->pb->n_expanded_devices, inst->pb->expanded_devices);
	uint64_t takes = inst->pb->usage ? inst->pb->usage->disk_bytes : 0;
	Lxmgr__V1__Instance next = *inst->pb; /* shallow */
	Lxmgr__V1__Instance *const list[] = { &next };

	lx_snapshot_count(m, inst);
	next.snapshot_bytes = inst->pb->snapshot_bytes + (takes && (!size || takes < size) ? takes : size);
	int r = lx_project_check(m, inst->pb->project, list, 1, err);

	if (r == 0)
		inst->pb->snapshot_bytes = next.snapshot_bytes;
	return r;
}

/* ------------------------------------------------------------------ the store */

int lx_snapshot_insert(struct lx_txn *txn, const struct lx_inst *inst, const Lxmgr__V1__Snapshot *pb)
{
	size_t len;
	lx_autofree uint8_t *bytes = lx_pb_pack(&pb->base, &len);

	if (!bytes)
		return -ENOMEM;
	lx_txn_exec(txn, "INSERT INTO snapshots (instance, name, spec) VALUES (?1, ?2, ?3)");
	lx_txn_text(txn, inst->pb->uuid);
	lx_txn_text(txn, pb->name);
	lx_txn_blob(txn, bytes, len);
	return 0;
}

void lx_snapshot_delete(struct lx_txn *txn, const struct lx_inst *inst, const char *name)
{
	lx_txn_exec(txn, "DELETE FROM snapshots WHERE instance = ?1 AND name = ?2");
	lx_txn_text(txn, inst->pb->uuid);
	lx_txn_text(txn, name);
}

/* ------------------------------------------------------------------ configuration */

/* Entries of both have the same shape. */
static int take_over(Lxmgr__V1__Instance *pb, const Lxmgr__V1__Snapshot *s)
{
	struct lx_map config, devices;

	lx_map_init(&config, free);
	lx_map_init(&devices, lx_pb_options_free);
	int r = lx_pb_map_to(s->n_config, s->config, &config);

	if (r == 0)
		r = lx_pb_devices_to(s->n_devices, s->devices, &devices);
	if (r == 0)
		r = lx_pb_map_from(&lxmgr__v1__instance__config_entry__descriptor, &pb->n_config, &pb->config,
				   &config);
	if (r == 0)
		r = lx_pb_devices_from(&lxmgr__v1__instance__devices_entry__descriptor, &pb->n_devices,
				       &pb->devices, &devices);
	if (r == 0)
		r = lx_pb_strv_copy(&pb->n_profiles, &pb->profiles, s->n_profiles, s->profiles);
	lx_map_release(&config);
	lx_map_release(&devices);
	return r;
}

Lxmgr__V1__Instance *lx_snapshot_applied(struct lx_manager *m, const struct lx_inst *inst,
					 const Lxmgr__V1__Snapshot *snapshot, struct lx_err *err)
{
	Lxmgr__V1__Instance *next = LX_PB_DUP(Lxmgr__V1__Instance, inst->pb);
	int r = next ? 0 : -ENOMEM;

	if (r == 0)
		r = take_over(next, snapshot);
	if (r < 0)
		lx_err_oom(err);
	if (r == 0)
		r = lx_inst_expand(m, next, err);
	if (r == 0)
		r = lx_api_check_expanded(next, err);
	if (r == 0)
		r = lx_api_check_change(inst->pb, next, err);
	if (r == 0)
		r = lx_project_check(m, inst->pb->project, &next, 1, err);
	if (r == 0)
		return next;
	lx_err_wrap(err, "the configuration of snapshot %s cannot be restored", snapshot->name);
	lx_pb_free(next);
	return NULL;
}
