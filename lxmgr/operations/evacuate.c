/*
 * node.evacuate and node.restore: everything off a node, and home again.
 *
 * Each instance is moved by an instance.move operation of its own, so many at a time, to where
 * there is room when its turn comes. What such a child is called follows from this operation's id
 * and the instance's key (its request id): after a restart of the manager run() finds the
 * children there are, those that have ended too, takes their outcomes and goes on with the rest.
 *
 *             begin               accepted, and ended
 *   WAITING ----------> MOVING -----------------------> DONE: an entry in the result
 *     |  ^                                                ^
 *     |  | that ended                                     | gone, elsewhere by now, or it
 *     |  +------- BLOCKED: somebody else is at it         | cannot be moved
 *     +---------------------------------------------------+
 *
 * One that fails does not stop the rest: the operation fails in the end and names them. One whose
 * node is not heard yet (the manager has just started) is tried again in a while. Cancelling lets
 * those that are on their way arrive and begins no more.
 */
#include "lxmgr/operations/evacuate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/str.h"
#include "lxmgr/operations/move.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

#define NAMED_MAX 5u /* instances that the error names; the result has all */

enum stage { WAITING, BLOCKED, MOVING, DONE };

struct item {
	struct lx_op_watcher w; /* of what blocks it, or of its move */
	struct lx_op *parent;
	char key[LX_QNAME_MAX + 1]; /* of the instance */
	enum stage stage;
	bool failed;
};

/* One block: op->data is freed as such. */
struct evacuation {
	const char *node;
	const char *target; /* "": the scheduler decides */
	Lxmgr__V1__LiveMode live;
	unsigned parallel;
	uint32_t timeout_seconds;
	bool home; /* a restoration */
	size_t n, moving, done, moved, failed;
	struct item items[];
};

static void pump(struct lx_op *op);

/* ------------------------------------------------------------------ parents and children */

/* "<id of the parent>/<key of the instance>" */
static void child_request_id(const struct lx_op *op, const char *key,
			     char out[LX_UUID_TEXT + LX_QNAME_MAX + 1])
{
	snprintf(out, LX_UUID_TEXT + LX_QNAME_MAX + 1, "%s/%s", op->pb->id, key);
}

static bool is_child(const struct lx_op *op, const struct lx_op *of)
{
	size_t n = strlen(of->pb->id);
	char key[LX_QNAME_MAX + 1];

	return op->kind == &lx_op_move && strncmp(op->pb->request_id, of->pb->id, n) == 0 &&
	       op->pb->request_id[n] == '/' && lx_qname_make(op->pb->project, op->pb->subject, key) &&
	       lx_streq(op->pb->request_id + n + 1, key);
}

bool lx_op_is_evacuation(const struct lx_op *move)
{
	const char *slash = strchr(move->pb->request_id, '/');
	char id[LX_UUID_TEXT];

	if (!slash || slash - move->pb->request_id != LX_UUID_TEXT - 1)
		return false;
	snprintf(id, sizeof(id), "%s", move->pb->request_id);
	const struct lx_op *parent = lx_map_get(&move->m->ops, id);

	return parent && parent->kind == &lx_op_evacuate && is_child(move, parent);
}

struct lx_op *lx_evacuation_of(const struct lx_manager *m, const char *node)
{
	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e)) {
		struct lx_op *op = lx_map_value(e);

		if ((op->kind == &lx_op_evacuate || op->kind == &lx_op_restore) && !lx_op_ended(op) &&
		    lx_streq(op->pb->subject, node))
			return op;
	}
	return NULL;
}

/* ------------------------------------------------------------------ outcomes */

static void settle(struct item *it, bool moved, bool failed, const char *text)
{
	struct evacuation *ev = it->parent->data;
	char shown[LX_SHOWN_NAME_MAX];

	it->stage = DONE;
	it->failed = failed;
	ev->done++;
	ev->moved += moved;
	ev->failed += failed;
	/* Short of memory the entry is missing; the counts and the child's own outcome are not. */
	(void)lx_op_result(it->parent, lx_key_shown(it->key, shown), text);
}

static void settle_failed(struct item *it, const char *why)
{
	char text[LX_ERR_MSG_MAX + 16];

	snprintf(text, sizeof(text), "failed: %s", why);
	settle(it, false, true, text);
}

static void settle_left(struct item *it, const char *why)
{
	char text[128];

	snprintf(text, sizeof(text), "left out: %s", why);
	settle(it, false, false, text);
}

static const char *mode_word(const Lxmgr__V1__MoveReport *r)
{
	switch (r ? r->mode : LXMGR__V1__MOVE_MODE__MOVE_MODE_UNSPECIFIED) {
	case LXMGR__V1__MOVE_MODE__MOVE_MODE_COLD:
		return "cold";
	case LXMGR__V1__MOVE_MODE__MOVE_MODE_LIVE:
		return "live";
	case LXMGR__V1__MOVE_MODE__MOVE_MODE_NEAR_LIVE:
		return "near-live";
	default:
		return "moved";
	}
}

static void settle_child(struct item *it, const struct lx_op *child)
{
	const Lxmgr__V1__MoveReport *r = child->pb->move;
	const char *to = lx_pb_map_get(child->pb->n_result, child->pb->result, "to");
	char text[256], took[LX_DURATION_TEXT_MAX];
	int at;

	if (child->pb->status != LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_SUCCESS) {
		settle_failed(it, child->pb->error);
		return;
	}
	if (lx_str_empty(to) && r)
		to = r->target;
	at = snprintf(text, sizeof(text), "%s to %s", mode_word(r), lx_str_empty(to) ? "another node" : to);
	if (r && r->downtime_ns > 0 && at > 0 && (size_t)at < sizeof(text))
		snprintf(text + at, sizeof(text) - (size_t)at, ", %s",
			 lx_format_duration((uint64_t)r->downtime_ns, took, sizeof(took)));
	settle(it, true, false, text);
}

/* ------------------------------------------------------------------ one instance */

static void on_child(struct lx_op *child, void *arg)
{
	struct item *it = arg;
	struct lx_op *op = it->parent;

	if (!lx_op_ended(child))
		return;
	lx_op_unwatch(&it->w);
	((struct evacuation *)op->data)->moving--;
	settle_child(it, child);
	pump(op);
}

static void follow(struct item *it, struct lx_op *child)
{
	it->w.changed = on_child;
	it->w.arg = it;
	lx_op_watch(child, &it->w);
}

static void on_accepted(struct lx_op *child, const struct lx_err *err, void *arg)
{
	struct item *it = arg;

	if (err->code == LX_OK) {
		follow(it, child);
		return;
	}
	((struct evacuation *)it->parent->data)->moving--;
	settle_failed(it, err->msg);
	pump(it->parent);
}

static void on_blocker(struct lx_op *other, void *arg)
{
	struct item *it = arg;

	if (!lx_op_ended(other))
		return;
	lx_op_unwatch(&it->w);
	it->stage = WAITING;
	pump(it->parent);
}

static void wait_for(struct item *it, struct lx_op *other)
{
	it->stage = BLOCKED;
	it->w.changed = on_blocker;
	it->w.arg = it;
	lx_op_watch(other, &it->w);
}

/* A retry that is due will come by again. */
static bool tried_again(struct lx_op *op)
{
	return (op->timer && uv_is_active((uv_handle_t *)op->timer)) || lx_op_retry(op);
}

static void begin(struct lx_op *op, struct item *it)
{
	Lxmgr__V1__MoveInstanceRequest req = LXMGR__V1__MOVE_INSTANCE_REQUEST__INIT;
	struct lx_inst *inst = lx_inst_by_key(op->m, it->key);
	char request_id[LX_UUID_TEXT + LX_QNAME_MAX + 1];
	struct evacuation *ev = op->data;
	struct lx_err err = LX_ERR_INIT;
	struct lx_op *child;

	if (!inst) {
		settle_left(it, "it was deleted");
		return;
	}
	if (lx_streq(inst->pb->node, ev->node) == ev->home) {
		settle_left(it, ev->home ? "it is at home already" : "it is on another node already");
		return;
	}
	if (inst->op) {
		wait_for(it, inst->op);
		return;
	}
	child_request_id(op, it->key, request_id);
	req.name = inst->pb->name;
	req.target = (char *)(uintptr_t)ev->target;
	req.live = ev->live;
	req.timeout_seconds = ev->timeout_seconds;
	req.request_id = request_id;
	child = lx_move_new(op->m, inst->pb->project, &req, NULL, &err);
	if (child && lx_pb_set(&child->pb->user, op->pb->user) < 0) {
		lx_op_free(child);
		child = NULL;
		lx_err_oom(&err);
	}
	if (child && lx_op_accept(child, NULL, on_accepted, it, &err) == 0) {
		it->stage = MOVING;
		ev->moving++;
	} else if (err.code != LX_UNAVAILABLE || !tried_again(op)) {
		settle_failed(it, err.msg);
	}
}

/* ------------------------------------------------------------------ all of them */

static void names_of_failed(const struct evacuation *ev, char *buf, size_t n)
{
	size_t at = 0, named = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < ev->n && named < NAMED_MAX; i++)
		if (ev->items[i].failed && at < n)
			at += (size_t)snprintf(buf + at, n - at, "%s%s", named++ ? ", " : "",
					       ev->items[i].key);
	if (named < ev->failed && at < n)
		snprintf(buf + at, n - at, " and %zu more", ev->failed - named);
}

static void finish(struct lx_op *op)
{
	const struct evacuation *ev = op->data;
	const char *verb = ev->home ? "restore" : "evacuate";
	char names[NAMED_MAX * (LX_QNAME_MAX + 2) + 32];
	struct lx_err err = LX_ERR_INIT;

	if (op->cancelled && ev->done < ev->n) {
		lx_err_set(&err, LX_CANCELLED, "cancelled when %zu of %zu instances were moved", ev->moved,
			   ev->n);
		lx_err_hint(&err, "Go on with it: lxmgr node %s %s", verb, ev->node);
	} else if (ev->failed) {
		names_of_failed(ev, names, sizeof(names));
		lx_err_set(&err, LX_ABORTED, "%zu of %zu instances could not be moved: %s", ev->failed, ev->n,
			   names);
		lx_err_hint(&err, "lxmgr operation show %.8s says why for each; then: lxmgr node %s %s",
			    op->pb->id, verb, ev->node);
	}
	lx_op_end(op, &err, NULL, NULL);
}

/* Begins as many as may be, and ends when nothing is left to wait for. */
static void pump(struct lx_op *op)
{
	struct evacuation *ev = op->data;
	bool left = false;

	if (op->ending || lx_op_ended(op) || op->m->stopping)
		return;
	for (size_t i = 0; i < ev->n; i++) {
		struct item *it = &ev->items[i];

		if (it->stage == WAITING && !op->cancelled && ev->moving < ev->parallel)
			begin(op, it);
		left = left || it->stage == MOVING || (it->stage != DONE && !op->cancelled);
	}
	lx_op_progress(op, op->cancelled ? "letting arrive what is on its way" : "move", ev->done, ev->n,
		       "instances");
	if (!left)
		finish(op);
}

/* Those that are to go, without what a child has been made for already. */
static bool concerns(const struct lx_inst *inst, const char *node, bool home)
{
	return home ? lx_streq(inst->pb->evacuated_from, node) && !lx_streq(inst->pb->node, node)
		    : lx_streq(inst->pb->node, node);
}

static struct item *add(struct evacuation *ev, struct lx_op *op, const char *key)
{
	struct item *it = &ev->items[ev->n++];

	it->parent = op;
	snprintf(it->key, sizeof(it->key), "%s", key);
	return it;
}

static bool has_child(const struct lx_op *op, const char *key)
{
	char request_id[LX_UUID_TEXT + LX_QNAME_MAX + 1];

	child_request_id(op, key, request_id);
	return lx_map_has(&op->m->ops_by_request, request_id);
}

static void collect(struct lx_op *op, struct evacuation *ev)
{
	struct lx_manager *m = op->m;

	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e)) {
		struct lx_op *child = lx_map_value(e);

		if (!is_child(child, op))
			continue;
		struct item *it = add(ev, op, strchr(child->pb->request_id, '/') + 1);

		if (lx_op_ended(child)) {
			settle_child(it, child);
		} else {
			it->stage = MOVING;
			ev->moving++;
			follow(it, child);
		}
	}
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);

		if (concerns(inst, ev->node, ev->home) && !has_child(op, inst->key))
			add(ev, op, inst->key);
	}
}

static struct evacuation *make(const struct lx_op *op)
{
	size_t room = lx_map_count(&op->m->instances);

	for (struct lx_map_entry *e = lx_map_first(&op->m->ops); e; e = lx_map_next(e))
		room += is_child(lx_map_value(e), op);
	return calloc(1, sizeof(struct evacuation) + room * sizeof(struct item));
}

static void run(struct lx_op *op, const struct evacuation *plan)
{
	struct evacuation *ev = op->data;

	if (!ev) {
		ev = make(op);
		if (!ev) {
			struct lx_err err = LX_ERR_INIT;
			lx_err_oom(&err);
			lx_op_end(op, &err, NULL, NULL);
			return;
		}
		*ev = *plan;
		ev->parallel = plan->parallel ? plan->parallel : LX_EVACUATE_PARALLEL;
		if (ev->live == LXMGR__V1__LIVE_MODE__LIVE_MODE_UNSPECIFIED)
			ev->live = LXMGR__V1__LIVE_MODE__LIVE_MODE_PREFERRED;
		op->data = ev;
		collect(op, ev);
	}
	pump(op);
}

static void evacuate_run(struct lx_op *op)
{
	const Lxmgr__V1__EvacuateNodeRequest *args = (const void *)op->args;
	const struct evacuation plan = { .node = args->name,
					 .target = args->target,
					 .live = args->live,
					 .parallel = args->parallel,
					 .timeout_seconds = args->timeout_seconds };

	run(op, &plan);
}

static void restore_run(struct lx_op *op)
{
	const Lxmgr__V1__RestoreNodeRequest *args = (const void *)op->args;
	const struct evacuation plan = { .node = args->name,
					 .target = args->name,
					 .live = args->live,
					 .parallel = args->parallel,
					 .timeout_seconds = args->timeout_seconds,
					 .home = true };

	run(op, &plan);
}

static void cancel(struct lx_op *op)
{
	struct evacuation *ev = op->data;

	if (!ev)
		return; /* nothing was begun: the engine ends it */
	for (size_t i = 0; i < ev->n; i++)
		if (ev->items[i].stage == BLOCKED) {
			lx_op_unwatch(&ev->items[i].w);
			ev->items[i].stage = WAITING;
		}
	pump(op);
}

const struct lx_op_kind lx_op_evacuate = {
	.name = "node.evacuate",
	.args = &lxmgr__v1__evacuate_node_request__descriptor,
	.run = evacuate_run,
	.cancel = cancel,
};

const struct lx_op_kind lx_op_restore = {
	.name = "node.restore",
	.args = &lxmgr__v1__restore_node_request__descriptor,
	.run = restore_run,
	.cancel = cancel,
};
