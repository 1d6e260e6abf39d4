/*
 * Cards that an instance holds: those it may still run with after its devices were changed.
 *
 *   changed     nics.c makes the new ones and holds the old ones, in the same transaction
 *   told        its agent goes on to guard what runs, and says whether one of these does
 *   settled     none of them does: their addresses are given back, in a transaction of its own
 *
 * An address must not be leased anew while a guest can still use it, and only the agent knows when
 * that is over: an instance restarts without the manager, reboots inside with what it had, runs on
 * while either daemon is away. So nothing is concluded here from what is asked of an agent, nor from
 * a status, only its own word counts; and only when it speaks of the specification that is the
 * current one (its digest), or a word from before a change could free what the change has come to
 * hold. An agent that says nothing holds them: too long is harmless, too short is not.
 *
 * Ways to fail: the store, memory. Then they are held until the agent's next word.
 */
#include "lxmgr/manager.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lxmgr/api/update.h"
#include "proto/pb.h"

struct release {
	struct lx_manager *m;
	uint64_t digest; /* of the specification that was spoken of */
	char uuid[64];
};

static bool is_current(const struct lx_inst *inst, uint64_t digest)
{
	Lxmgr__V1__InstanceSpec *spec = lx_inst_spec(inst, false);
	bool same = spec && lx_pb_spec_digest(spec) == digest;

	lx_pb_free(spec);
	return same;
}

static void end(struct release *r)
{
	struct lx_inst *inst = lx_map_get(&r->m->instances_by_uuid, r->uuid);

	if (inst)
		inst->releasing = false;
	free(r);
}

static void give_back(struct lx_manager *m, struct lx_inst *inst)
{
	lx_leases_drop_held(m, inst->pb);
	/* A change of its home at the same time may have stored them once more, and after a restart of
	 * the manager they may by then be somebody else's. */
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e))
		(void)lx_leases_mark(m, ((struct lx_inst *)lx_map_value(e))->pb, NULL);
}

static void on_stored(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct release *r = arg;
	struct lx_manager *m = r->m;
	struct lx_inst *inst = lx_map_get(&m->instances_by_uuid, r->uuid);

	if (err->code != LX_OK)
		lx_warn("addresses that are not used any more were not given back",
			"instance=%s error=\"%s\"", inst ? inst->key : r->uuid, err->msg);
	else if (inst)
		give_back(m, inst);
	end(r);
	if (err->code == LX_OK && inst && !m->stopping) {
		lx_inst_touch(m, inst);
		lx_link_apply_networks(m);
		inst->untold = true;
		lx_inst_tell_next(m, inst);
	}
	lx_turn_release(m);
}

static struct lx_txn *without_held(const struct lx_inst *inst)
{
	struct lx_txn *txn = lx_txn_new(NULL);
	Lxmgr__V1__Instance next = *inst->pb;
	size_t len = 0;

	next.n_held_nics = 0; /* borrowed, while it is packed */
	lx_autofree uint8_t *spec = txn ? lx_inst_pack(&next, &len) : NULL;

	if (!spec) {
		lx_txn_free(txn);
		return NULL;
	}
	lx_txn_exec(txn, "UPDATE instances SET spec = ?1 WHERE uuid = ?2 AND generation = ?3");
	lx_txn_blob(txn, spec, len);
	lx_txn_text(txn, inst->pb->uuid);
	lx_txn_int(txn, (int64_t)inst->pb->generation);
	lx_txn_expect(txn, 1, "the instance was moved or deleted meanwhile");
	lx_txn_leases(txn, &next);
	return txn;
}

static void release(void *arg)
{
	struct release *r = arg;
	struct lx_manager *m = r->m;
	struct lx_inst *inst = lx_map_get(&m->instances_by_uuid, r->uuid);
	struct lx_err err = LX_ERR_INIT;
	struct lx_txn *txn = NULL;

	if (inst && inst->pb->n_held_nics && is_current(inst, r->digest))
		txn = without_held(inst);
	if (txn && lx_store_submit(m->store, txn, on_stored, r, &err) == 0)
		lx_turn_hold(m);
	else
		end(r);
}

void lx_held_report(struct lx_manager *m, struct lx_inst *inst, const Lxmgr__V1__InstanceReport *report)
{
	struct release *r;

	if (!inst->pb->n_held_nics || !report->cards_settled || inst->releasing || m->stopping ||
	    report->generation != inst->pb->generation || !is_current(inst, report->spec_digest))
		return;
	r = calloc(1, sizeof(*r));
	if (!r)
		return;
	*r = (struct release){ .m = m, .digest = report->spec_digest };
	snprintf(r->uuid, sizeof(r->uuid), "%s", inst->pb->uuid);
	inst->releasing = true;
	/* Alone: a change of the instance must not build on what this replaces. */
	if (lx_turn_take_own(m, true, release, r) < 0)
		end(r);
}
