/*
 * ProjectService.Rename: only of one that owns no instance, image or network. Nodes know those by
 * names that hold the project's (project.h), and instances cannot be renamed while they run; all
 * else is the manager's own, and follows in one transaction: profiles, quotas, the roles that
 * identities and tokens have in it, and the record of what was done in it. The audit log is never
 * changed: what was done under the old name stays there under the old name.
 *
 * From its beginning to its end nothing can be made in the project (lx_project.going).
 */
#include "lxmgr/api/projects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

struct renaming {
	char old[LX_NAME_MAX + 1], name[LX_NAME_MAX + 1];
	Lxmgr__V1__Project *next; /* NULL once it is the manager's */
};

static void renaming_free(struct renaming *r)
{
	if (!r)
		return;
	lx_pb_free(r->next);
	free(r);
}

/* ------------------------------------------------------------------ roles */

/* Without memory for the name a role is one in a project that is not there, and so none. */
static void rename_roles(size_t n, Lxmgr__V1__ProjectRole **v, const char *from, const char *to)
{
	for (size_t i = 0; i < n; i++)
		if (lx_streq(v[i]->project, from) && lx_pb_set(&v[i]->project, to) < 0)
			lx_error("out of memory for a role", "project=%s", to);
}

static bool has_role(size_t n, Lxmgr__V1__ProjectRole *const *v, const char *project)
{
	for (size_t i = 0; i < n; i++)
		if (lx_streq(v[i]->project, project))
			return true;
	return false;
}

/* ------------------------------------------------------------------ the transaction */

/* `sql` with ?1 = key and ?2 = the message. 0 or -ENOMEM. */
static int store(struct lx_txn *txn, const char *sql, const char *key, const ProtobufCMessage *pb)
{
	size_t len;
	lx_autofree uint8_t *spec = lx_pb_pack(pb, &len);

	if (!spec)
		return -ENOMEM;
	lx_txn_exec(txn, sql);
	lx_txn_text(txn, key);
	lx_txn_blob(txn, spec, len);
	return 0;
}

static int profiles_txn(struct lx_manager *m, struct lx_txn *txn, const struct renaming *n)
{
	int r = 0;

	for (struct lx_map_entry *e = lx_map_first(&m->profiles); e && r == 0; e = lx_map_next(e)) {
		const Lxmgr__V1__Profile *p = lx_map_value(e);

		if (p->builtin || !lx_same_project(p->project, n->old))
			continue;
		Lxmgr__V1__Profile copy = *p;
		lx_autofree char *key = lx_scoped(n->next->name, p->name);

		copy.project = n->next->name;
		r = key ? store(txn, "INSERT INTO profiles (name, spec) VALUES (?1, ?2)", key, &copy.base)
			: -ENOMEM;
		lx_txn_exec(txn, "DELETE FROM profiles WHERE name = ?1");
		lx_txn_text(txn, lx_map_key(e));
	}
	return r;
}

static int roles_txn(struct lx_manager *m, struct lx_txn *txn, const struct renaming *n)
{
	int r = 0;

	for (struct lx_map_entry *e = lx_map_first(&m->identities->by_name); e && r == 0;
	     e = lx_map_next(e)) {
		const Lxmgr__V1__Identity *pb = lx_map_value(e);

		if (!has_role(pb->n_projects, pb->projects, n->old))
			continue;
		Lxmgr__V1__Identity *copy = LX_PB_DUP(Lxmgr__V1__Identity, pb);

		if (copy)
			rename_roles(copy->n_projects, copy->projects, n->old, n->next->name);
		r = copy ? store(txn, "UPDATE identities SET spec = ?2 WHERE name = ?1", pb->name,
				 &copy->base)
			 : -ENOMEM;
		lx_pb_free(copy);
	}
	for (struct lx_map_entry *e = lx_map_first(&m->identities->tokens); e && r == 0; e = lx_map_next(e)) {
		const Lxmgr__V1__IdentityToken *t = lx_map_value(e);

		if (!has_role(t->n_projects, t->projects, n->old))
			continue;
		Lxmgr__V1__IdentityToken *copy = LX_PB_DUP(Lxmgr__V1__IdentityToken, t);

		if (copy)
			rename_roles(copy->n_projects, copy->projects, n->old, n->next->name);
		r = copy ? store(txn, "UPDATE identity_tokens SET spec = ?2 WHERE secret_hash = ?1",
				 lx_map_key(e), &copy->base)
			 : -ENOMEM;
		lx_pb_free(copy);
	}
	return r;
}

static int operations_txn(struct lx_manager *m, struct lx_txn *txn, const struct renaming *n)
{
	int r = 0;

	for (struct lx_map_entry *e = lx_map_first(&m->ops); e && r == 0; e = lx_map_next(e)) {
		const struct lx_op *op = lx_map_value(e);

		if (!lx_streq(op->pb->project, n->old))
			continue;
		Lxmgr__V1__Operation copy = *op->pb;

		copy.project = n->next->name;
		r = store(txn, "UPDATE operations SET spec = ?2 WHERE id = ?1", op->pb->id, &copy.base);
	}
	return r;
}

static struct lx_txn *renaming_txn(struct lx_manager *m, const struct renaming *n)
{
	struct lx_txn *txn = lx_txn_new(NULL);
	int r = txn ? store(txn, "INSERT INTO projects (name, spec) VALUES (?1, ?2)", n->next->name,
			    &n->next->base)
		    : -ENOMEM;

	if (r == 0) {
		lx_txn_exec(txn, "DELETE FROM projects WHERE name = ?1");
		lx_txn_text(txn, n->old);
		r = profiles_txn(m, txn, n);
	}
	if (r == 0)
		r = roles_txn(m, txn, n);
	if (r == 0)
		r = operations_txn(m, txn, n);
	if (r == 0)
		return txn;
	lx_txn_free(txn);
	return NULL;
}

/* ------------------------------------------------------------------ memory */

static void rename_profiles(struct lx_manager *m, const char *from, const char *to)
{
	for (struct lx_map_entry *e = lx_map_first(&m->profiles), *next; e; e = next) {
		Lxmgr__V1__Profile *p = lx_map_value(e);

		next = lx_map_next(e);
		if (p->builtin || !lx_same_project(p->project, from))
			continue;
		p = lx_profile_take(m, from, p->name);
		if (lx_pb_set(&p->project, to) < 0 || lx_profile_put(m, p) < 0) {
			lx_error("out of memory for a profile", "project=%s", to);
			lx_pb_free(p);
		}
	}
}

static void rename_in_memory(struct lx_manager *m, struct renaming *n)
{
	const char *to = n->name;

	rename_profiles(m, n->old, to);
	for (struct lx_map_entry *e = lx_map_first(&m->identities->by_name); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Identity *pb = lx_map_value(e);

		rename_roles(pb->n_projects, pb->projects, n->old, to);
	}
	for (struct lx_map_entry *e = lx_map_first(&m->identities->tokens); e; e = lx_map_next(e)) {
		const Lxmgr__V1__IdentityToken *t = lx_map_value(e);

		rename_roles(t->n_projects, t->projects, n->old, to);
	}
	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e)) {
		struct lx_op *op = lx_map_value(e);

		if (lx_streq(op->pb->project, n->old) && lx_pb_set(&op->pb->project, to) < 0)
			lx_error("out of memory for an operation", "project=%s", to);
	}
	if (lx_project_put(m, lx_move_ptr(n->next)) < 0)
		lx_error("out of memory for a project", "");
	lx_map_del(&m->projects, n->old);
}

/* ------------------------------------------------------------------ the call */

static void on_renamed(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	struct renaming *n = data;
	struct lx_project *p = lx_map_get(&m->projects, n->old);

	if (err->code != LX_OK) {
		if (p)
			p->going = false;
		lx_api_answer(call, NULL, err);
		renaming_free(n);
		return;
	}
	const char *fields[] = { "from", n->old, NULL };

	lx_info("project renamed", "from=%s to=%s", n->old, n->name);
	lx_event(m, "lifecycle", "project-renamed", n->name, n->name, "", fields);
	rename_in_memory(m, n);
	p = lx_map_get(&m->projects, n->name);
	lx_api_project_answer(m, call, p ? p->pb : NULL, err);
	renaming_free(n);
	lx_gate_changed(m);
}

static struct renaming *renaming_new(const Lxmgr__V1__Project *pb, const char *name)
{
	struct renaming *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	snprintf(n->old, sizeof(n->old), "%s", pb->name);
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->next = LX_PB_DUP(Lxmgr__V1__Project, pb);
	if (n->next && lx_pb_set(&n->next->name, name) == 0)
		return n;
	renaming_free(n);
	return NULL;
}

void lx_api_project_rename(struct lx_call *call, const ProtobufCMessage *msg, void *manager)
{
	const Lxmgr__V1__RenameProjectRequest *req = (const void *)msg;
	struct lx_manager *m = manager;
	struct lx_err err = LX_ERR_INIT;
	struct lx_project *p = lx_project_for_new(m, req->name, &err);

	if (p && lx_project_is_default(req->name)) {
		lx_err_set(&err, LX_FAILED_PRECONDITION, "project %s cannot be renamed", LX_PROJECT_DEFAULT);
		p = NULL;
	}
	if (!p || lx_api_project_check_name(m, req->new_name, &err) < 0 ||
	    lx_api_project_check_empty(m, req->name, false, &err) < 0) {
		lx_call_fail(call, &err);
		return;
	}
	struct renaming *n = renaming_new(p->pb, req->new_name);
	struct lx_txn *txn = n ? renaming_txn(m, n) : NULL;

	p->going = true;
	if (lx_api_commit(m, call, txn, on_renamed, n, &err) == 0)
		return;
	p->going = false;
	renaming_free(n);
	lx_call_fail(call, &err);
}
