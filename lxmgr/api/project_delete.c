/*
 * ProjectService.Delete: only of one that owns nothing but its profile "default". With it go that
 * profile, the roles that identities and tokens have in it, and the record of what was done in it:
 * one of the same name that is made later has nothing of this one.
 *
 * From its beginning nothing can be made in the project (lx_project.going): images are made by
 * operations, which do not wait for a turn.
 */
#include "lxmgr/api/projects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/api/identities.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

/* ------------------------------------------------------------------ what it owns */

struct owned {
	const char *what, *first;
	unsigned n;
};

static void count(struct owned *o, const char *name)
{
	if (o->n++ == 0)
		o->first = name;
}

int lx_api_project_check_empty(struct lx_manager *m, const char *project, bool profiles, struct lx_err *err)
{
	struct owned owned[] = { { .what = "instance" },
				 { .what = "image" },
				 { .what = "network" },
				 { .what = "profile" },
				 { .what = "operation" } };
	lx_autobuf struct lx_buf text = { 0 };

	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);
		if (lx_same_project(inst->pb->project, project))
			count(&owned[0], inst->pb->name);
	}
	for (struct lx_map_entry *e = lx_map_first(&m->images); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Image *image = lx_map_value(e);
		if (lx_same_project(image->project, project))
			count(&owned[1], image->n_aliases ? image->aliases[0] : image->fingerprint);
	}
	for (struct lx_map_entry *e = lx_map_first(&m->networks); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Network *n = lx_map_value(e);
		if (lx_same_project(n->project, project))
			count(&owned[2], n->name);
	}
	for (struct lx_map_entry *e = lx_map_first(&m->profiles); e && profiles; e = lx_map_next(e)) {
		const Lxmgr__V1__Profile *p = lx_map_value(e);
		if (lx_same_project(p->project, project) && !lx_streq(p->name, "default"))
			count(&owned[3], p->name);
	}
	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e)) {
		const struct lx_op *op = lx_map_value(e);
		if (!lx_op_ended(op) && lx_streq(op->pb->project, project))
			count(&owned[4], op->pb->kind);
	}
	for (size_t i = 0; i < LX_ARRAY_SIZE(owned); i++)
		if (owned[i].n)
			(void)lx_buf_printf(&text, "%s%u %s%s (%.32s%s)", text.len ? ", " : "", owned[i].n,
					    owned[i].what, owned[i].n > 1 ? "s" : "", owned[i].first,
					    owned[i].n > 1 ? " ..." : "");
	if (!text.len)
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "project %s still has %s", project,
			   lx_buf_str(&text));
	lx_err_hint(err, "Remove these first, with --project %s.", project);
	return r;
}

/* ------------------------------------------------------------------ what goes with it */

static bool has_role(size_t n, Lxmgr__V1__ProjectRole *const *v, const char *project)
{
	for (size_t i = 0; i < n; i++)
		if (lx_streq(v[i]->project, project))
			return true;
	return false;
}

/* 0 or -ENOMEM. */
static int drop_role_txn(struct lx_txn *txn, const Lxmgr__V1__Identity *pb, const char *project)
{
	Lxmgr__V1__Identity *next = LX_PB_DUP(Lxmgr__V1__Identity, pb);
	size_t len;

	if (!next)
		return -ENOMEM;
	(void)lx_api_set_project_role(next, project, LXMGR__V1__ROLE__ROLE_UNSPECIFIED);
	lx_autofree uint8_t *spec = lx_pb_pack(&next->base, &len);
	lx_pb_free(next);
	if (!spec)
		return -ENOMEM;
	lx_txn_exec(txn, "UPDATE identities SET spec = ?2 WHERE name = ?1");
	lx_txn_text(txn, pb->name);
	lx_txn_blob(txn, spec, len);
	return 0;
}

/* A token that gives a role in it gives nothing at all any more: whoever made it meant the other one. */
static void drop_tokens_txn(struct lx_manager *m, struct lx_txn *txn, const char *project)
{
	for (struct lx_map_entry *e = lx_map_first(&m->identities->tokens); e; e = lx_map_next(e)) {
		const Lxmgr__V1__IdentityToken *t = lx_map_value(e);

		if (!has_role(t->n_projects, t->projects, project))
			continue;
		lx_txn_exec(txn, "DELETE FROM identity_tokens WHERE secret_hash = ?1");
		lx_txn_text(txn, lx_map_key(e));
	}
}

static struct lx_txn *deletion(struct lx_manager *m, const char *project)
{
	struct lx_txn *txn = lx_txn_new(NULL);
	lx_autofree char *profile = lx_scoped(project, "default");
	int r = txn && profile ? 0 : -ENOMEM;

	if (r == 0) {
		lx_txn_exec(txn, "DELETE FROM projects WHERE name = ?1");
		lx_txn_text(txn, project);
		lx_txn_exec(txn, "DELETE FROM profiles WHERE name = ?1");
		lx_txn_text(txn, profile);
		drop_tokens_txn(m, txn, project);
	}
	for (struct lx_map_entry *e = lx_map_first(&m->identities->by_name); e && r == 0;
	     e = lx_map_next(e)) {
		const Lxmgr__V1__Identity *pb = lx_map_value(e);

		if (has_role(pb->n_projects, pb->projects, project))
			r = drop_role_txn(txn, pb, project);
	}
	for (struct lx_map_entry *e = lx_map_first(&m->ops); e && r == 0; e = lx_map_next(e)) {
		const struct lx_op *op = lx_map_value(e);

		if (!lx_streq(op->pb->project, project))
			continue;
		lx_txn_exec(txn, "DELETE FROM operations WHERE id = ?1");
		lx_txn_text(txn, op->pb->id);
	}
	if (r == 0)
		return txn;
	lx_txn_free(txn);
	return NULL;
}

static void forget(struct lx_manager *m, const char *project)
{
	for (struct lx_map_entry *e = lx_map_first(&m->identities->tokens), *next; e; e = next) {
		const Lxmgr__V1__IdentityToken *t = lx_map_value(e);

		next = lx_map_next(e);
		if (has_role(t->n_projects, t->projects, project))
			lx_map_del(&m->identities->tokens, lx_map_key(e));
	}
	for (struct lx_map_entry *e = lx_map_first(&m->identities->by_name); e; e = lx_map_next(e))
		(void)lx_api_set_project_role(lx_map_value(e), project, LXMGR__V1__ROLE__ROLE_UNSPECIFIED);
	for (struct lx_map_entry *e = lx_map_first(&m->ops), *next; e; e = next) {
		struct lx_op *op = lx_map_value(e);

		next = lx_map_next(e);
		if (!lx_streq(op->pb->project, project))
			continue;
		/* One that is watched right now goes with the oldest; until then it is of no project there
		 * can be. */
		if (!TAILQ_EMPTY(&op->watchers)) {
			(void)lx_pb_set(&op->pb->project, "-");
			continue;
		}
		if (!lx_str_empty(op->pb->request_id))
			lx_map_del(&m->ops_by_request, op->pb->request_id);
		lx_map_del(&m->ops, op->pb->id);
	}
	lx_pb_free(lx_profile_take(m, project, "default"));
	lx_map_del(&m->projects, project);
}

/* ------------------------------------------------------------------ the call */

static void on_deleted(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	lx_autofree char *name = data;
	struct lx_project *p = lx_map_get(&m->projects, name);
	Lxmgr__V1__DeleteProjectResponse reply = LXMGR__V1__DELETE_PROJECT_RESPONSE__INIT;

	lx_api_answer(call, &reply.base, err);
	if (err->code != LX_OK) {
		if (p)
			p->going = false;
		return;
	}
	lx_info("project deleted", "project=%s", name);
	lx_event(m, "lifecycle", "project-deleted", name, name, "", NULL);
	forget(m, name);
	lx_gate_changed(m);
}

void lx_api_project_delete(struct lx_call *call, const ProtobufCMessage *msg, void *manager)
{
	const Lxmgr__V1__ProjectRequest *req = (const void *)msg;
	struct lx_manager *m = manager;
	struct lx_err err = LX_ERR_INIT;
	struct lx_project *p = lx_project_for_new(m, req->name, &err);
	char *name;

	if (!p)
		goto fail;
	if (lx_project_is_default(req->name)) {
		lx_err_set(&err, LX_FAILED_PRECONDITION, "project %s cannot be deleted", LX_PROJECT_DEFAULT);
		goto fail;
	}
	if (lx_api_project_check_empty(m, req->name, true, &err) < 0)
		goto fail;
	name = strdup(req->name);
	p->going = true;
	if (lx_api_commit(m, call, name ? deletion(m, name) : NULL, on_deleted, name, &err) == 0)
		return;
	p->going = false;
	free(name);
fail:
	lx_call_fail(call, &err);
}
