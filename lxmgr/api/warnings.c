/*
 * WarningService: from memory; what a person does to warnings is stored before it is answered.
 *
 * In memory and in the store the name of an instance is its key (project.h); clients get its name
 * and its project. A caller whose role holds in a project has to do with warnings of that one's instances
 * alone: of others it hears as of those that are not there.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/project.h"
#include "lxmgr/warnings/warnings.h"
#include "proto/pb.h"

#define STATUS(s) LXMGR__V1__WARNING_STATUS__WARNING_STATUS_##s
#define IDS_MAX   1000u /* in one call */

typedef Lxmgr__V1__Warning warning;

/* ------------------------------------------------------------------ whose they are */

/* Of the instance it is about; "": of none. */
static const char *project_of(const warning *w, char buf[LX_QNAME_SCOPE_MAX + 1])
{
	return lx_streq(w->entity, "instance") ? lx_qname_scope(w->name, buf) : "";
}

/* What a call may see or change. */
struct reach {
	struct lx_scope scope;
	bool everything; /* its role holds in all projects */
};

static void reach_of(struct lx_manager *m, const struct lx_call *call, struct reach *ret)
{
	lx_scope_of(m, call, &ret->scope);
	ret->everything = ret->scope.cluster >= lx_access_find(lx_call_method(call))->role;
}

static bool is_in_reach(struct reach *r, const warning *w)
{
	char buf[LX_QNAME_SCOPE_MAX + 1];
	const char *project = project_of(w, buf);

	if (r->everything || !*project)
		return r->everything;
	/* What it remembers of the last one is in a buffer that is not there any more. */
	r->scope.asked = NULL;
	return lx_scope_sees(&r->scope, project);
}

static struct lx_warning *find_in_reach(struct lx_manager *m, struct reach *r, uint64_t id,
					struct lx_err *err)
{
	struct lx_warning *w = lx_warning_find(m, id, NULL);

	if (w && is_in_reach(r, w->pb))
		return w;
	/* Whether there is one is not said. */
	lx_err_set(err, LX_NOT_FOUND, "there is no warning %" PRIu64, id);
	lx_err_hint(err, "lxmgr warning list --all shows the warnings there are.");
	return NULL;
}

/* As clients know it: strings are the other's but for the project, which is in `buf`. */
static warning shown(const warning *w, char buf[LX_QNAME_SCOPE_MAX + 1])
{
	warning copy = *w;

	copy.project = (char *)(uintptr_t)project_of(w, buf);
	if (*copy.project)
		copy.name = (char *)(uintptr_t)lx_qname_leaf(w->name);
	return copy;
}

/* ------------------------------------------------------------------ reading */

/* By its name in the call's project, or by its key. */
static bool is_about(const warning *w, const char *instance, const struct reach *r)
{
	char buf[LX_QNAME_SCOPE_MAX + 1];

	if (!lx_streq(w->entity, "instance"))
		return false;
	if (strchr(instance, LX_QNAME_SEPARATOR))
		return lx_streq(instance, w->name);
	return lx_streq(instance, lx_qname_leaf(w->name)) &&
	       (r->scope.all || lx_same_project(r->scope.project, project_of(w, buf)));
}

static bool is_wanted(const warning *w, const Lxmgr__V1__ListWarningsRequest *req, struct reach *r)
{
	return (req->all || w->status == STATUS(NEW)) &&
	       (lx_str_empty(req->node) || lx_streq(req->node, w->node)) &&
	       (lx_str_empty(req->instance) || is_about(w, req->instance, r)) &&
	       w->severity >= req->severity && is_in_reach(r, w);
}

static int latest_first(const void *a, const void *b)
{
	const warning *x = *(warning *const *)a, *y = *(warning *const *)b;

	if (x->last_seen_ns != y->last_seen_ns)
		return x->last_seen_ns < y->last_seen_ns ? 1 : -1;
	return (x->id < y->id) - (x->id > y->id);
}

/* One of the list, and where its project's name is. */
struct row {
	warning pb;
	char project[LX_QNAME_SCOPE_MAX + 1];
};

static void api_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ListWarningsRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	const struct lx_map *all = &m->warnings->by_id;
	Lxmgr__V1__ListWarningsResponse resp = LXMGR__V1__LIST_WARNINGS_RESPONSE__INIT;
	lx_autofree warning **list = calloc(lx_map_count(all) + 1, sizeof(*list));
	lx_autofree struct row *rows = calloc(lx_map_count(all) + 1, sizeof(*rows));
	struct reach reach;

	if (!list || !rows) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	reach_of(m, call, &reach);
	for (struct lx_map_entry *e = lx_map_first(all); e; e = lx_map_next(e)) {
		const struct lx_warning *w = lx_map_value(e);
		struct row *row = &rows[resp.n_warnings];

		if (!is_wanted(w->pb, req, &reach))
			continue;
		row->pb = shown(w->pb, row->project);
		list[resp.n_warnings++] = &row->pb;
	}
	qsort(list, resp.n_warnings, sizeof(*list), latest_first);
	resp.warnings = list;
	lx_call_reply(call, &resp.base);
}

static void api_get(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__WarningRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct reach reach;
	struct row row;

	reach_of(m, call, &reach);
	const struct lx_warning *w = find_in_reach(m, &reach, req->id, &err);

	if (!w) {
		lx_call_fail(call, &err);
		return;
	}
	row.pb = shown(w->pb, row.project);
	lx_call_reply(call, &row.pb.base);
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

static int choose(struct lx_manager *m, struct reach *reach, const Lxmgr__V1__ChangeWarningsRequest *req,
		  struct change *c, struct lx_err *err)
{
	for (size_t i = 0; i < req->n_ids; i++) {
		if (!find_in_reach(m, reach, req->ids[i], err))
			return -ENOENT;
		c->ids[c->n++] = req->ids[i];
	}
	for (struct lx_map_entry *e = lx_map_first(&m->warnings->by_id); e && req->all; e = lx_map_next(e)) {
		const struct lx_warning *w = lx_map_value(e);

		if (is_meant(w->pb, c->delete) && is_in_reach(reach, w->pb))
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
	struct reach reach;

	if (check(req, &err) < 0)
		goto fail;
	c = calloc(1, sizeof(*c) + (req->n_ids + lx_map_count(&m->warnings->by_id)) * sizeof(*c->ids));
	txn = lx_txn_new(NULL);
	if (!c || !txn) {
		lx_err_oom(&err);
		goto fail;
	}
	c->delete = delete;
	reach_of(m, call, &reach);
	if (choose(m, &reach, req, c, &err) < 0)
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
