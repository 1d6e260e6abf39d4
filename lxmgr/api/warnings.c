/* WarningService: from memory; what a person does to warnings is stored before it is answered. */
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/warnings/warnings.h"
#include "proto/pb.h"

#define STATUS(s) LXMGR__V1__WARNING_STATUS__WARNING_STATUS_##s
#define IDS_MAX   1000u /* in one call */

typedef Lxmgr__V1__Warning warning;

/* ------------------------------------------------------------------ reading */

static bool is_wanted(const warning *w, const Lxmgr__V1__ListWarningsRequest *req)
{
	return (req->all || w->status == STATUS(NEW)) &&
	       (lx_str_empty(req->node) || lx_streq(req->node, w->node)) &&
	       (lx_str_empty(req->instance) ||
		(lx_streq(w->entity, "instance") && lx_streq(req->instance, w->name))) &&
	       w->severity >= req->severity;
}

static int latest_first(const void *a, const void *b)
{
	const warning *x = *(warning *const *)a, *y = *(warning *const *)b;

	if (x->last_seen_ns != y->last_seen_ns)
		return x->last_seen_ns < y->last_seen_ns ? 1 : -1;
	return (x->id < y->id) - (x->id > y->id);
}

static void api_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ListWarningsRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	const struct lx_map *all = &m->warnings->by_id;
	Lxmgr__V1__ListWarningsResponse resp = LXMGR__V1__LIST_WARNINGS_RESPONSE__INIT;
	lx_autofree warning **list = calloc(lx_map_count(all) + 1, sizeof(*list));

	if (!list) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	for (struct lx_map_entry *e = lx_map_first(all); e; e = lx_map_next(e)) {
		const struct lx_warning *w = lx_map_value(e);

		if (is_wanted(w->pb, req))
			list[resp.n_warnings++] = w->pb;
	}
	qsort(list, resp.n_warnings, sizeof(*list), latest_first);
	resp.warnings = list;
	lx_call_reply(call, &resp.base);
}

static void api_get(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_err err = LX_ERR_INIT;
	const struct lx_warning *w =
		lx_warning_find(arg, ((const Lxmgr__V1__WarningRequest *)(const void *)msg)->id, &err);

	if (w)
		lx_call_reply(call, &w->pb->base);
	else
		lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ changing */

struct change {
	bool delete;
	size_t n;
	uint64_t ids[];
};

/* Memory follows the store; some may have gone meanwhile. */
static void on_stored(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	lx_autofree struct change *c = data;
	Lxmgr__V1__ChangeWarningsResponse resp = LXMGR__V1__CHANGE_WARNINGS_RESPONSE__INIT;

	for (size_t i = 0; i < c->n && err->code == LX_OK; i++) {
		struct lx_warning *w = lx_warning_find(m, c->ids[i], NULL);

		if (!w)
			continue;
		resp.changed++;
		if (c->delete) {
			lx_warning_drop(m, w);
			continue;
		}
		w->pb->status = STATUS(ACKNOWLEDGED);
		w->dirty = true;
		lx_warnings_save_soon(m);
	}
	lx_api_answer(call, &resp.base, err);
}

/* All: to acknowledge what is new, to delete what a person or time has dealt with. */
static bool is_meant(const warning *w, bool delete)
{
	return (w->status == STATUS(NEW)) != delete;
}

static int choose(struct lx_manager *m, const Lxmgr__V1__ChangeWarningsRequest *req, struct change *c,
		  struct lx_err *err)
{
	for (size_t i = 0; i < req->n_ids; i++) {
		if (!lx_warning_find(m, req->ids[i], err))
			return -ENOENT;
		c->ids[c->n++] = req->ids[i];
	}
	for (struct lx_map_entry *e = lx_map_first(&m->warnings->by_id); e && req->all; e = lx_map_next(e)) {
		const struct lx_warning *w = lx_map_value(e);

		if (is_meant(w->pb, c->delete))
			c->ids[c->n++] = w->pb->id;
	}
	return 0;
}

/* What is acknowledged is stored as it is now, whatever was not yet. */
static int put(struct lx_manager *m, struct lx_txn *txn, const struct change *c)
{
	int r = 0;

	for (size_t i = 0; i < c->n && r == 0; i++) {
		const struct lx_warning *w = lx_warning_find(m, c->ids[i], NULL);

		if (c->delete) {
			lx_txn_exec(txn, "DELETE FROM warnings WHERE id = ?1");
			lx_txn_int(txn, (int64_t)c->ids[i]);
			continue;
		}
		warning copy = *w->pb;

		copy.status = STATUS(ACKNOWLEDGED);
		r = lx_warning_txn(txn, &copy);
	}
	return r;
}

static int check(const Lxmgr__V1__ChangeWarningsRequest *req, struct lx_err *err)
{
	if (req->n_ids > IDS_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "more than %u warnings in one call", IDS_MAX);
	if (!req->all == !req->n_ids)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "either ids of warnings, or all of them");
	return 0;
}

static void change(struct lx_manager *m, struct lx_call *call, const Lxmgr__V1__ChangeWarningsRequest *req,
		   bool delete)
{
	struct lx_err err = LX_ERR_INIT;
	struct change *c = NULL;
	struct lx_txn *txn = NULL;

	if (check(req, &err) < 0)
		goto fail;
	c = calloc(1, sizeof(*c) + (req->n_ids + lx_map_count(&m->warnings->by_id)) * sizeof(*c->ids));
	txn = lx_txn_new(NULL);
	if (!c || !txn) {
		lx_err_oom(&err);
		goto fail;
	}
	c->delete = delete;
	if (choose(m, req, c, &err) < 0)
		goto fail;
	if (put(m, txn, c) < 0) {
		lx_err_oom(&err);
		goto fail;
	}
	/* The call's row of the audit log goes with it, also when there was nothing to do. */
	if (lx_api_commit(m, call, lx_move_ptr(txn), on_stored, c, &err) == 0)
		return;
fail:
	lx_txn_free(txn);
	free(c);
	lx_call_fail(call, &err);
}

static void acknowledge(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	change(arg, call, (const void *)msg, false);
}

static void delete (struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	change(arg, call, (const void *)msg, true);
}

LX_TURN_METHOD(api_acknowledge, true, acknowledge)
LX_TURN_METHOD(api_delete, true, delete)

static const struct lx_method methods[] = {
	{ .name = "List", .unary = api_list },
	{ .name = "Get", .unary = api_get },
	{ .name = "Acknowledge", .unary = api_acknowledge },
	{ .name = "Delete", .unary = api_delete },
};

const struct lx_service lx_api_warnings = { &lxmgr__v1__warning_service__descriptor, methods,
					    LX_ARRAY_SIZE(methods) };
