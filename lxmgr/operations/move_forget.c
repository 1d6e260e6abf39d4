/* See move_forget.h. */
#include "lxmgr/operations/move_forget.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/shown.h"
#include "proto/pb.h"

/* After an answer that is none: it is still at it, or something went wrong. */
#define AGAIN_MS 2000u

#define DONE    LXMGR__V1__MOVE_STATE__MOVE_STATE_DONE
#define ABORTED LXMGR__V1__MOVE_STATE__MOVE_STATE_ABORTED

struct forget {
	struct lx_manager *m;
	char operation[LX_MOVE_OPERATION_MAX]; /* what the agents call it */
	char id[LX_UUID_TEXT];                 /* the operation's */
	char instance[LX_UUID_TEXT], name[LX_QNAME_MAX + 1];
	char first[LX_NAME_MAX + 1], second[LX_NAME_MAX + 1];
	enum lx_move_awaits awaits;  /* of first, which is the source then */
	bool first_told;             /* only here: it is not hurt by being told again */
	bool busy;                   /* something is under way */
	Lxmgr__V1__MoveReport *told; /* while it is being stored */
	Lxmgr__V1__MoveState state;  /* what the source has said; UNSPECIFIED: nothing */
	struct lx_err why;           /* it is not what was awaited */
	struct lx_call *call;
};

static void go_on(struct forget *f);

static void forget_free(void *arg)
{
	struct forget *f = arg;

	lx_pb_free(f->told);
	free(f);
}

/* ------------------------------------------------------------------ again */

static void on_again(uv_timer_t *t)
{
	lx_moves_go_on(t->data);
}

static void again(struct lx_manager *m)
{
	if (m->stopping)
		return;
	if (!m->forget_timer.data) {
		uv_timer_init(m->loop, &m->forget_timer);
		m->forget_timer.data = m;
	}
	if (!uv_is_active((uv_handle_t *)&m->forget_timer))
		uv_timer_start(&m->forget_timer, on_again, AGAIN_MS, 0);
}

void lx_moves_go_on(struct lx_manager *m)
{
	for (struct lx_map_entry *e = lx_map_first(&m->forgets), *next; e; e = next) {
		next = lx_map_next(e);
		go_on(lx_map_value(e));
	}
}

/* ------------------------------------------------------------------ the row goes */

static void on_row_gone(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct forget *f = arg;

	f->busy = false;
	if (err->code == LX_OK)
		lx_map_del(&f->m->forgets, f->operation);
	else
		again(f->m);
}

static void drop_row(struct forget *f)
{
	struct lx_txn *txn = lx_txn_new(NULL);

	f->busy = true;
	if (txn) {
		lx_txn_exec(txn, "DELETE FROM move_forgets WHERE operation = ?1");
		lx_txn_text(txn, f->operation);
	}
	if (!txn || lx_store_submit(f->m->store, txn, on_row_gone, f, NULL) < 0) {
		f->busy = false;
		again(f->m);
	}
}

/* ------------------------------------------------------------------ forget it */

static void told(struct forget *f)
{
	if (f->first_told) {
		drop_row(f);
		return;
	}
	f->first_told = true;
	go_on(f);
}

static void on_forgotten(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct forget *f = arg;

	f->busy = false;
	if (f->m->stopping)
		return;
	if (err->code == LX_OK || err->code == LX_NOT_FOUND)
		told(f);
	else
		again(f->m);
}

static bool is_removed(const struct forget *f, const char *node)
{
	return !lx_map_has(&f->m->nodes, node);
}

static void tell(struct forget *f)
{
	Lxmgr__V1__AgentEndMoveRequest req = LXMGR__V1__AGENT_END_MOVE_REQUEST__INIT;
	struct lx_node *n = lx_map_get(&f->m->nodes, f->first_told ? f->second : f->first);

	if (!n) {
		told(f);
		return;
	}
	if (!lx_node_online(n))
		return;
	req.operation = f->operation;
	req.peer_removed = is_removed(f, f->first_told ? f->first : f->second);
	f->busy = true;
	if (lx_channel_unary(n->channel, &lxmgr__v1__agent_service__descriptor, "EndMove", &req.base, NULL,
			     on_forgotten, f, NULL, NULL) < 0) {
		f->busy = false;
		again(f->m);
	}
}

/* ------------------------------------------------------------------ what the source has to tell */

/* A later try of the same operation, or with `any` an earlier one as well, that awaits the same. */
static bool has_other_try(const struct forget *f, bool any)
{
	for (struct lx_map_entry *e = lx_map_first(&f->m->forgets); e; e = lx_map_next(e)) {
		const struct forget *other = lx_map_value(e);

		/* The first try is called like the operation, later ones are longer. */
		if (other != f && other->awaits == f->awaits && lx_streq(other->id, f->id) &&
		    (any || strlen(other->operation) > strlen(f->operation)))
			return true;
	}
	return false;
}

static void on_stored(const struct lx_err *err, void *arg)
{
	struct forget *f = arg;

	f->busy = false;
	lx_pb_free(f->told);
	f->told = NULL;
	if (err->code != LX_OK) {
		lx_warn("cannot keep how a move ended", "operation=%s error=\"%s\"", f->id, err->msg);
		again(f->m);
		return;
	}
	if (f->awaits == LX_MOVE_AWAITS_OUTCOME && f->state != DONE) {
		/* It stays: the target is the one that may wait for that word. */
		char source[sizeof(f->first)];

		memcpy(source, f->first, sizeof(source));
		memcpy(f->first, f->second, sizeof(f->first));
		memcpy(f->second, source, sizeof(f->second));
		f->awaits = LX_MOVE_AWAITS_NOTHING;
	} else {
		f->awaits =
			f->awaits == LX_MOVE_AWAITS_OUTCOME ? LX_MOVE_AWAITS_FIGURES : LX_MOVE_AWAITS_NOTHING;
	}
	/* Earlier tries have waited for this one. */
	lx_moves_go_on(f->m);
}

/* What it has told, or that it never will: unless another try of the move may be the one that was it. */
static void store(struct forget *f)
{
	const struct lx_move_late late = { .m = f->m,
					   .operation = f->operation,
					   .id = f->told || !has_other_try(f, true) ? f->id : "",
					   .instance = f->instance,
					   .told = f->told,
					   .why = f->why.msg,
					   .cb = on_stored,
					   .arg = f };
	const struct lx_move_outcome outcome = {
		.m = f->m,
		.operation = f->operation,
		.id = f->id,
		.instance = f->instance,
		.source = f->first,
		.target = f->second,
		.moved = f->state == DONE,
		/* One that is not known there has not been begun: another was. */
		.known = f->state || !has_other_try(f, true),
		.why = &f->why,
		.cb = on_stored,
		.arg = f
	};

	f->busy = true;
	if ((f->awaits == LX_MOVE_AWAITS_OUTCOME ? lx_move_outcome_put(&outcome, NULL)
						 : lx_move_late_put(&late, NULL)) < 0) {
		f->busy = false;
		again(f->m);
	}
}

static void on_status(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentMoveProgress *p = (const void *)msg;
	struct forget *f = arg;

	if (!p->status)
		return;
	/* One that could not be taken back yet, say, has not ended: asked again. */
	if (f->awaits == LX_MOVE_AWAITS_OUTCOME && p->status->state != DONE && p->status->state != ABORTED)
		return;
	f->state = p->status->state;
	lx_pb_free(f->told);
	f->told = f->state == DONE && p->status->report ? LX_PB_DUP(Lxmgr__V1__MoveReport, p->status->report)
							: NULL;
	if (f->state != DONE && *p->status->error) {
		lx_err_set(&f->why, p->status->error_code ? (enum lx_code)p->status->error_code : LX_ABORTED,
			   "%s", p->status->error);
		lx_err_hint(&f->why, "%s", p->status->hint);
		lx_shown_err(&f->why, f->m);
	} else if (!f->told) {
		lx_err_set(&f->why, LX_ABORTED, "node %s has no figures of it", f->first);
	}
}

static void on_asked(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct forget *f = arg;

	f->call = NULL;
	f->busy = false;
	if (f->m->stopping)
		return;
	if (err->code == LX_NOT_FOUND)
		lx_err_set(&f->why, LX_ABORTED, "node %s does not know of it%s", f->first,
			   f->awaits == LX_MOVE_AWAITS_OUTCOME ? ": it was not begun" : " any more");
	if (f->told || f->why.code != LX_OK)
		store(f);
	else
		again(f->m);
}

/* How does it stand? The answer comes when it is settled there, and says all that is kept of it. */
static void ask(struct forget *f)
{
	static const struct lx_call_events events = { .message = on_status, .closed = on_asked };
	Lxmgr__V1__AgentSendInstanceRequest req = LXMGR__V1__AGENT_SEND_INSTANCE_REQUEST__INIT;
	struct lx_node *n = lx_map_get(&f->m->nodes, f->first);

	f->why = (struct lx_err)LX_ERR_INIT;
	f->state = LXMGR__V1__MOVE_STATE__MOVE_STATE_UNSPECIFIED;
	if (!n) {
		lx_err_set(&f->why, LX_ABORTED, "node %s was removed from the cluster before it told %s",
			   f->first,
			   f->awaits == LX_MOVE_AWAITS_OUTCOME ? "how the move ended" : "its figures");
		store(f);
		return;
	}
	if (!lx_node_online(n))
		return;
	req.operation = f->operation;
	req.name = f->name;
	req.peer_removed = is_removed(f, f->second);
	f->busy = true;
	if (lx_channel_stream(n->channel, &lxmgr__v1__agent_service__descriptor, "SendInstance", NULL,
			      &events, f, &f->call, NULL) < 0) {
		f->busy = false;
		again(f->m);
		return;
	}
	lx_call_send(f->call, &req.base);
	lx_call_half_close(f->call);
}

static void go_on(struct forget *f)
{
	if (f->busy || f->m->stopping)
		return;
	if (f->awaits == LX_MOVE_AWAITS_NOTHING)
		tell(f);
	else if (f->awaits == LX_MOVE_AWAITS_FIGURES || !has_other_try(f, false))
		ask(f); /* how it ended the last one that was begun knows */
}

void lx_moves_arrived(struct lx_manager *m, const struct lx_inst *inst)
{
	for (struct lx_map_entry *e = lx_map_first(&m->forgets); e; e = lx_map_next(e)) {
		struct forget *f = lx_map_value(e);

		if (f->awaits != LX_MOVE_AWAITS_OUTCOME || f->busy ||
		    !lx_streq(f->instance, inst->pb->uuid) || !lx_streq(f->second, inst->pb->node))
			continue;
		f->state = DONE;
		store(f);
	}
}

/* ------------------------------------------------------------------ beginning */

/* How many tries agents may know of. */
static unsigned tries(const struct lx_op *op)
{
	const struct lx_move_op *mv = op->data;

	if (mv && mv->rung_known)
		return mv->rung + 1;
	return op->resumed ? LX_MOVE_RUNGS_MAX : 1;
}

/* Of that try. The one that arrived is the last one, where that is known. */
static enum lx_move_awaits awaits(const struct lx_op *op, unsigned rung)
{
	const struct lx_move_op *mv = op->data;

	if (op->pb->outcome_open)
		return LX_MOVE_AWAITS_OUTCOME;
	return op->pb->move && op->pb->move->awaited && (!mv || !mv->rung_known || rung == mv->rung)
		       ? LX_MOVE_AWAITS_FIGURES
		       : LX_MOVE_AWAITS_NOTHING;
}

void lx_move_forget_txn(struct lx_txn *txn, const struct lx_op *op, const char *first, const char *second)
{
	for (unsigned i = 0; i < tries(op); i++) {
		char operation[LX_MOVE_OPERATION_MAX];

		lx_move_try(op, i, operation);
		lx_txn_exec(txn, "INSERT OR REPLACE INTO move_forgets"
				 " (operation, id, instance, name, first, second, awaited)"
				 " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
		lx_txn_text(txn, operation);
		lx_txn_text(txn, op->pb->id);
		lx_txn_text(txn, op->inst->pb->uuid);
		lx_txn_text(txn, op->inst->key);
		lx_txn_text(txn, first);
		lx_txn_text(txn, second);
		lx_txn_int(txn, awaits(op, i));
	}
}

static struct forget *add(struct lx_manager *m, const char *operation, const char *id, const char *instance,
			  const char *name)
{
	struct forget *f = calloc(1, sizeof(*f));

	/* Short of memory: after the next start. */
	if (!f || lx_map_set(&m->forgets, operation, f) < 0) {
		free(f);
		return NULL;
	}
	f->m = m;
	snprintf(f->operation, sizeof(f->operation), "%s", operation);
	snprintf(f->id, sizeof(f->id), "%s", id);
	snprintf(f->instance, sizeof(f->instance), "%s", instance);
	snprintf(f->name, sizeof(f->name), "%s", name);
	return f;
}

void lx_move_forget_begin(const struct lx_op *op, const char *first, const char *second)
{
	for (unsigned i = 0; i < tries(op); i++) {
		char operation[LX_MOVE_OPERATION_MAX];

		lx_move_try(op, i, operation);
		struct forget *f = add(op->m, operation, op->pb->id, op->inst->pb->uuid, op->inst->key);

		if (!f)
			return;
		snprintf(f->first, sizeof(f->first), "%s", first);
		snprintf(f->second, sizeof(f->second), "%s", second);
		f->awaits = awaits(op, i);
		go_on(f);
	}
}

/* Columns: operation, id, instance, name, first, second, awaited. */
int lx_move_forget_load(struct lx_manager *m, const struct lx_sql_value *c, struct lx_err *err)
{
	struct forget *f = add(m, c[0].data, c[1].data, c[2].data, c[3].data);

	if (!f)
		return lx_err_oom(err);
	snprintf(f->first, sizeof(f->first), "%s", (const char *)c[4].data);
	snprintf(f->second, sizeof(f->second), "%s", (const char *)c[5].data);
	f->awaits = (enum lx_move_awaits)c[6].i;
	/* Of nodes that are there it goes on when they are back. */
	again(m);
	return 0;
}

void lx_moves_init(struct lx_manager *m)
{
	lx_map_init(&m->forgets, forget_free);
}
