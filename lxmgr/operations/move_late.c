/*
 * The report of a move whose source was away when it ended. Until the source tells its figures, the
 * operation and the instance's last move have what the manager knows, and say what is missing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/str.h"
#include "lxmgr/operations/engine.h"
#include "lxmgr/operations/move_forget.h"
#include "proto/pb.h"

typedef Lxmgr__V1__MoveReport report;

Lxmgr__V1__MoveReport *lx_move_late_begin(const char *operation, const char *source, const char *target,
					  Lxmgr__V1__MoveMode mode)
{
	report *r = malloc(sizeof(*r));
	char text[LX_NAME_MAX + 96];

	if (!r)
		return NULL;
	lxmgr__v1__move_report__init(r);
	snprintf(text, sizeof(text), "node %s was away when it ended and has not told its figures yet",
		 source);
	r->awaited = true;
	r->finished_at_ns = (int64_t)lx_now_realtime_ns();
	r->mode = mode;
	if (lx_pb_set(&r->incomplete, text) == 0 && lx_pb_set(&r->operation, operation) == 0 &&
	    lx_pb_set(&r->source, source) == 0 && lx_pb_set(&r->target, target) == 0)
		return r;
	lx_pb_free(r);
	return NULL;
}

/* ------------------------------------------------------------------ what replaces it */

static bool is_awaited(const report *r, const char *id)
{
	return r && r->awaited && lx_streq(r->operation, id);
}

static report *completed(const report *old, const report *told, const char *why)
{
	report *r = LX_PB_DUP(Lxmgr__V1__MoveReport, told ? told : old);
	int rc = 0;

	if (!r)
		return NULL;
	r->awaited = false;
	if (!told) {
		rc = lx_pb_set(&r->incomplete, why);
	} else {
		/* What the manager alone knows. */
		rc = lx_pb_set(&r->operation, old->operation);
		if (rc == 0 && *old->reason)
			rc = lx_pb_set(&r->reason, old->reason);
	}
	if (rc == 0)
		return r;
	lx_pb_free(r);
	return NULL;
}

/* ------------------------------------------------------------------ store, then memory */

struct putting {
	struct lx_move_late late;
	report *of_op, *of_inst; /* NULL: it has none that is awaited */
};

static void putting_free(struct putting *p)
{
	lx_pb_free(p->of_op);
	lx_pb_free(p->of_inst);
	free(p);
}

static struct lx_op *op_of(const struct lx_move_late *late)
{
	return lx_map_get(&late->m->ops, late->id);
}

static struct lx_inst *inst_of(const struct lx_move_late *late)
{
	return lx_map_get(&late->m->instances_by_uuid, late->instance);
}

static void on_put(const struct lx_err *err, void *arg)
{
	struct putting *p = arg;
	struct lx_manager *m = p->late.m;
	struct lx_op *op = op_of(&p->late);
	struct lx_inst *inst = inst_of(&p->late);

	/* Looked at again: either may be gone, or have another one, by now. */
	if (err->code == LX_OK && op && is_awaited(op->pb->move, p->late.id)) {
		lx_pb_free(op->pb->move);
		op->pb->move = lx_move_ptr(p->of_op);
		lx_op_announce(op, "operation-reported");
	}
	if (err->code == LX_OK && inst && is_awaited(inst->pb->last_move, p->late.id)) {
		lx_pb_free(inst->pb->last_move);
		inst->pb->last_move = lx_move_ptr(p->of_inst);
		lx_inst_touch(m, inst);
	}
	p->late.cb(err, p->late.arg);
	putting_free(p);
}

static int op_txn(struct lx_txn *txn, struct putting *p)
{
	const struct lx_op *op = op_of(&p->late);

	if (!op) {
		/* Memory has let go of it: it must not come back as it was. */
		lx_txn_exec(txn, "DELETE FROM operations WHERE id = ?1 AND ended = 1");
		lx_txn_text(txn, p->late.id);
		return 0;
	}
	if (!is_awaited(op->pb->move, p->late.id))
		return 0;
	Lxmgr__V1__Operation copy = *op->pb;
	size_t len = 0;

	p->of_op = copy.move = completed(op->pb->move, p->late.told, p->late.why);
	lx_autofree uint8_t *spec = copy.move ? lx_pb_pack(&copy.base, &len) : NULL;

	if (!spec)
		return -ENOMEM;
	lx_txn_exec(txn, "UPDATE operations SET spec = ?1 WHERE id = ?2");
	lx_txn_blob(txn, spec, len);
	lx_txn_text(txn, p->late.id);
	return 0;
}

/* One that is just being given another home has another last move, too: the generation guards that. */
static int inst_txn(struct lx_txn *txn, struct putting *p)
{
	const struct lx_inst *inst = inst_of(&p->late);

	if (!inst || !is_awaited(inst->pb->last_move, p->late.id))
		return 0;
	Lxmgr__V1__Instance copy = *inst->pb;

	p->of_inst = copy.last_move = completed(inst->pb->last_move, p->late.told, p->late.why);
	return p->of_inst ? lx_move_last_txn(txn, &copy) : -ENOMEM;
}

int lx_move_last_txn(struct lx_txn *txn, const Lxmgr__V1__Instance *inst)
{
	size_t len = 0;
	lx_autofree uint8_t *spec = lx_inst_pack(inst, &len);

	if (!spec)
		return -ENOMEM;
	lx_txn_exec(txn, "UPDATE instances SET spec = ?1 WHERE uuid = ?2 AND generation = ?3");
	lx_txn_blob(txn, spec, len);
	lx_txn_text(txn, inst->uuid);
	lx_txn_int(txn, (int64_t)inst->generation);
	return 0;
}

static int fill(struct lx_txn *txn, void *arg)
{
	struct putting *p = arg;
	int r = op_txn(txn, p);

	if (r == 0)
		r = inst_txn(txn, p);
	lx_txn_exec(txn, "UPDATE move_forgets SET awaited = 0 WHERE operation = ?1");
	lx_txn_text(txn, p->late.operation);
	return r;
}

int lx_move_late_put(const struct lx_move_late *late, struct lx_err *err)
{
	struct putting *p = calloc(1, sizeof(*p));

	if (p) {
		p->late = *late;
		/* Alone: a change of the instance or of the project's name must not build on what this
		 * replaces. */
		if (lx_turn_own_txn(late->m, fill, on_put, p) == 0)
			return 0;
	}
	free(p);
	return lx_err_oom(err);
}
