/*
 * What agents say of instances, and where an instance's home is.
 *
 * The home is the node whose agent holds its generation. A report with a higher generation
 * from another node means that it has moved there and that nobody could tell: the source went
 * away after it had committed, or the operation ended before its time. The store is set right,
 * then memory.
 */
#include "lxmgr/manager.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/operations/engine.h"
#include "lxmgr/operations/evacuate.h"
#include "lxmgr/operations/move.h"
#include "lxmgr/project.h"
#include "lxmgr/shown.h"
#include "lxmgr/warnings/warnings.h"
#include "proto/pb.h"

#define STATUS(s) LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_##s

static void set_usage(Lxmgr__V1__Instance *pb, const Lxmgr__V1__InstanceUsage *u)
{
	if (!u) {
		lx_pb_free(pb->usage);
		pb->usage = NULL;
		return;
	}
	if (!pb->usage) {
		pb->usage = malloc(sizeof(*pb->usage));
		if (!pb->usage)
			return;
		lxmgr__v1__instance_usage__init(pb->usage);
	}
	/* Numbers only: the header belongs to the message that is overwritten. */
	ProtobufCMessage base = pb->usage->base;
	*pb->usage = *u;
	pb->usage->base = base;
}

/* ------------------------------------------------------------------ home */

const char *lx_inst_cards_at(const struct lx_inst *inst)
{
	return inst->arriving_at ? inst->arriving_at : inst->pb->node;
}

/*
 * The node it goes back to one day: an evacuation takes it away from there, further moves do not
 * change it, and arriving there ends it.
 */
static int set_home(Lxmgr__V1__Instance *pb, const struct lx_op *move, const char *from, const char *to)
{
	if (lx_streq(pb->evacuated_from, to))
		return lx_pb_set(&pb->evacuated_from, NULL);
	if (lx_str_empty(pb->evacuated_from) && move && lx_op_is_evacuation(move))
		return lx_pb_set(&pb->evacuated_from, from);
	return 0;
}

int lx_inst_rehome_txn(struct lx_txn *txn, const struct lx_inst *inst, const char *node, uint64_t generation,
		       struct lx_err *err)
{
	Lxmgr__V1__Instance *copy = LX_PB_DUP(Lxmgr__V1__Instance, inst->pb);
	size_t len = 0;
	lx_autofree uint8_t *spec = NULL;

	if (copy && set_home(copy, inst->op, inst->pb->node, node) == 0 &&
	    lx_pb_set(&copy->node, node) == 0) {
		copy->generation = generation;
		spec = lx_inst_pack(copy, &len);
	}
	lx_pb_free(copy);
	if (!spec)
		return lx_err_oom(err);
	lx_txn_exec(txn, "UPDATE instances SET node = ?1, generation = ?2, spec = ?3"
			 " WHERE uuid = ?4 AND generation < ?2");
	lx_txn_text(txn, node);
	lx_txn_int(txn, (int64_t)generation);
	lx_txn_blob(txn, spec, len);
	lx_txn_text(txn, inst->pb->uuid);
	lx_txn_expect(txn, 1, "the instance has another home by now");
	return 0;
}

void lx_inst_rehome(struct lx_manager *m, struct lx_inst *inst, const char *node, uint64_t generation)
{
	const char *fields[] = { "from", inst->pb->node, "to", node, NULL };
	Lxmgr__V1__InstanceReport *arrived = lx_move_ptr(inst->arrived);
	struct lx_node *n = lx_map_get(&m->nodes, node);

	if (!lx_streq(inst->pb->node, node))
		lx_event(m, "lifecycle", "instance-moved", inst->pb->project, inst->pb->name, node, fields);
	(void)set_home(inst->pb, inst->op, inst->pb->node,
		       node); /* short of memory: from the next start on */
	if (node != inst->pb->node)
		lx_pb_set(&inst->pb->node, node);
	inst->pb->generation = generation;
	free(inst->arriving_at);
	inst->arriving_at = NULL;
	lx_inst_touch(m, inst);
	if (arrived && n && arrived->generation == generation)
		lx_inst_report(m, n, arrived);
	lx_pb_free(arrived);
	lx_link_apply_networks(m);
}

/* ------------------------------------------------------------------ from where it should not be */

struct adoption {
	struct lx_manager *m;
	char uuid[64], node[LX_NAME_MAX + 1];
	uint64_t generation;
};

static void on_adopted(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	lx_autofree struct adoption *a = arg;
	struct lx_inst *inst = lx_map_get(&a->m->instances_by_uuid, a->uuid);

	if (err->code == LX_OK && inst && inst->pb->generation < a->generation) {
		if (!lx_streq(inst->pb->node, a->node))
			lx_warn("an instance has moved while nobody could tell", "instance=%s from=%s to=%s",
				inst->key, inst->pb->node, a->node);
		lx_inst_rehome(a->m, inst, a->node, a->generation);
		lx_moves_arrived(a->m, inst);
	}
}

static void adopt(struct lx_manager *m, struct lx_inst *inst, const struct lx_node *node, uint64_t generation)
{
	struct adoption *a = calloc(1, sizeof(*a));
	struct lx_txn *txn = lx_txn_new(NULL);
	struct lx_err err = LX_ERR_INIT;

	if (!a || !txn || lx_inst_rehome_txn(txn, inst, node->pb->name, generation, &err) < 0) {
		free(a);
		lx_txn_free(txn);
		return; /* its next report tries again */
	}
	a->m = m;
	a->generation = generation;
	snprintf(a->uuid, sizeof(a->uuid), "%s", inst->pb->uuid);
	snprintf(a->node, sizeof(a->node), "%s", node->pb->name);
	if (lx_store_submit(m->store, txn, on_adopted, a, &err) < 0)
		free(a);
}

static void report_elsewhere(struct lx_manager *m, struct lx_inst *inst, struct lx_node *node,
			     const Lxmgr__V1__InstanceReport *r)
{
	if (r->removed || r->generation <= inst->pb->generation ||
	    r->status == STATUS(CREATING)) /* on its way: the source decides */
		return;
	lx_pb_free(inst->arrived);
	inst->arrived = LX_PB_DUP(Lxmgr__V1__InstanceReport, r);
	/* The move that brought it there ends by itself; one that waits for its source need not any more. */
	if (inst->op && inst->op->kind == &lx_op_move) {
		if (inst->op->parked)
			lx_op_run(inst->op);
		return;
	}
	if (!inst->op)
		adopt(m, inst, node, r->generation);
}

/* ------------------------------------------------------------------ reports */

void lx_inst_report(struct lx_manager *m, struct lx_node *node, const Lxmgr__V1__InstanceReport *r)
{
	struct lx_inst *inst = lx_inst_by_key(m, r->name);

	if (!inst || !lx_streq(inst->pb->uuid, r->uuid)) {
		if (!r->removed)
			lx_debug("report about an instance that is not known", "instance=%s uuid=%s node=%s",
				 r->name, r->uuid, node->pb->name);
		return;
	}
	if (!lx_streq(inst->pb->node, node->pb->name)) {
		report_elsewhere(m, inst, node, r);
		return;
	}
	/* It was taken back from a node that is not part of the cluster any more. */
	if (!r->removed && r->generation > inst->pb->generation && !inst->op)
		adopt(m, inst, node, r->generation);
	if (r->removed) {
		/* Expected while it is deleted or undone; else it is damage a person must see. */
		if (!inst->op)
			lx_inst_set_status(m, inst, STATUS(ERROR), "its files are gone from the node");
		return;
	}
	bool runs = r->status == STATUS(RUNNING) || r->status == STATUS(FROZEN) ||
		    r->status == STATUS(FREEZING) || r->status == STATUS(STOPPING);
	bool rebooted = inst->pb->status == STATUS(RUNNING) && r->status == STATUS(RUNNING) &&
			inst->pb->pid && r->pid && inst->pb->pid != r->pid;
	inst->pending = false;
	lx_held_report(m, inst, r);
	inst->pb->pid = r->pid;
	inst->pb->started_at_ns = runs ? r->started_at_ns : 0;
	(void)lx_pb_set(&inst->pb->apparmor, runs ? r->apparmor : NULL);
	if (!runs || r->usage)
		set_usage(inst->pb, runs ? r->usage : NULL);
	lx_shown_text(m, r->status_reason);
	lx_inst_set_status(m, inst, r->status, r->status_reason);
	lx_conditions_lxcfs(m, inst, runs && r->lxcfs_lost);
	if (rebooted)
		lx_event(m, "lifecycle", "instance-restarted", inst->pb->project, inst->pb->name,
			 inst->pb->node, NULL);
}

void lx_inst_usage(struct lx_manager *m, const Lxmgr__V1__UsageReports *u)
{
	for (size_t i = 0; i < u->n_reports; i++) {
		struct lx_inst *inst = lx_inst_by_key(m, u->reports[i]->name);
		if (inst && u->reports[i]->usage)
			set_usage(inst->pb, u->reports[i]->usage);
	}
	if (u->n_reports)
		m->revision++;
}
