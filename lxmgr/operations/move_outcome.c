/*
 * How a move ended whose source was away for so long that its operation had to end without knowing.
 * The operation is set right; of one that has moved it and the instance get the report that says that
 * the source's figures are still to come (move_late.c).
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/str.h"
#include "lxmgr/operations/engine.h"
#include "lxmgr/operations/move_forget.h"
#include "proto/pb.h"

struct putting {
	struct lx_move_outcome outcome;
	int64_t told_at_ns;
	Lxmgr__V1__MoveReport *of_op, *of_inst; /* NULL: it gets none */
};

static void putting_free(struct putting *p)
{
	lx_pb_free(p->of_op);
	lx_pb_free(p->of_inst);
	free(p);
}

/* NULL: it is gone, or has been told. */
static struct lx_op *op_of(const struct lx_move_outcome *o)
{
	struct lx_op *op = o->known ? lx_map_get(&o->m->ops, o->id) : NULL;

	return op && op->pb->outcome_open ? op : NULL;
}

/* NULL: it has not moved, or has moved again since. Where it is, it says itself (instance_report.c). */
static struct lx_inst *inst_of(const struct lx_move_outcome *o, const struct lx_op *op)
{
	struct lx_inst *inst = op && o->moved ? lx_map_get(&o->m->instances_by_uuid, o->instance) : NULL;
	const Lxmgr__V1__MoveReport *last = inst ? inst->pb->last_move : NULL;

	return last && last->finished_at_ns > op->pb->updated_at_ns ? NULL : inst;
}

static Lxmgr__V1__MoveReport *begin_report(const struct lx_move_outcome *o)
{
	return lx_move_late_begin(o->id, o->source, o->target, LXMGR__V1__MOVE_MODE__MOVE_MODE_UNSPECIFIED);
}

static void take_report(Lxmgr__V1__MoveReport **to, Lxmgr__V1__MoveReport **from)
{
	lx_pb_free(*to);
	*to = lx_move_ptr(*from);
}

static void on_put(const struct lx_err *err, void *arg)
{
	struct putting *p = arg;
	struct lx_manager *m = p->outcome.m;
	struct lx_op *op = op_of(&p->outcome);
	struct lx_inst *inst = inst_of(&p->outcome, op);

	if (err->code == LX_OK && op) {
		if (p->of_op)
			take_report(&op->pb->move, &p->of_op);
		lx_op_settle(op, p->outcome.moved, p->outcome.why, p->told_at_ns);
	}
	if (err->code == LX_OK && inst && p->of_inst) {
		take_report(&inst->pb->last_move, &p->of_inst);
		lx_inst_touch(m, inst);
	}
	p->outcome.cb(err, p->outcome.arg);
	putting_free(p);
}

static int op_txn(struct lx_txn *txn, struct putting *p)
{
	const struct lx_move_outcome *o = &p->outcome;
	const struct lx_op *op = op_of(o);
	size_t len = 0;

	if (o->known && !lx_map_has(&o->m->ops, o->id)) {
		/* Memory has let go of it: it must not come back as it was. */
		lx_txn_exec(txn, "DELETE FROM operations WHERE id = ?1 AND ended = 1");
		lx_txn_text(txn, o->id);
	}
	if (!op)
		return 0;
	Lxmgr__V1__Operation copy = *op->pb;

	copy.outcome_open = false;
	copy.updated_at_ns = p->told_at_ns;
	if (o->moved) {
		p->of_op = copy.move = begin_report(o);
		if (!p->of_op)
			return -ENOMEM;
		copy.status = LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_SUCCESS;
	}
	/* Borrowed while it is packed. */
	copy.error_code = o->moved ? 0 : (int32_t)o->why->code;
	copy.error = (char *)(uintptr_t)(o->moved ? "" : o->why->msg);
	copy.hint = (char *)(uintptr_t)(o->moved ? "" : o->why->hint);
	lx_autofree uint8_t *spec = lx_pb_pack(&copy.base, &len);

	if (!spec)
		return -ENOMEM;
	lx_txn_exec(txn, "UPDATE operations SET spec = ?1, updated_at = ?3 WHERE id = ?2");
	lx_txn_blob(txn, spec, len);
	lx_txn_text(txn, o->id);
	lx_txn_int(txn, p->told_at_ns);
	return 0;
}

static int inst_txn(struct lx_txn *txn, struct putting *p)
{
	const struct lx_inst *inst = inst_of(&p->outcome, op_of(&p->outcome));

	if (!inst)
		return 0;
	Lxmgr__V1__Instance copy = *inst->pb;

	p->of_inst = copy.last_move = begin_report(&p->outcome);
	return p->of_inst ? lx_move_last_txn(txn, &copy) : -ENOMEM;
}

/* Who is told first that nobody asks any more: the one that may wait for the other's word. */
static void row_txn(struct lx_txn *txn, const struct lx_move_outcome *o)
{
	lx_txn_exec(txn,
		    "UPDATE move_forgets SET awaited = ?2, first = ?3, second = ?4 WHERE operation = ?1");
	lx_txn_text(txn, o->operation);
	lx_txn_int(txn, o->moved ? LX_MOVE_AWAITS_FIGURES : LX_MOVE_AWAITS_NOTHING);
	lx_txn_text(txn, o->moved ? o->source : o->target);
	lx_txn_text(txn, o->moved ? o->target : o->source);
}

static int fill(struct lx_txn *txn, void *arg)
{
	struct putting *p = arg;
	int r = op_txn(txn, p);

	if (r == 0)
		r = inst_txn(txn, p);
	row_txn(txn, &p->outcome);
	return r;
}

int lx_move_outcome_put(const struct lx_move_outcome *outcome, struct lx_err *err)
{
	struct putting *p = calloc(1, sizeof(*p));

	if (p) {
		p->outcome = *outcome;
		p->told_at_ns = (int64_t)lx_now_realtime_ns();
		/* Alone: a change of the instance must not build on what this replaces. */
		if (lx_turn_own_txn(outcome->m, fill, on_put, p) == 0)
			return 0;
	}
	free(p);
	return lx_err_oom(err);
}
