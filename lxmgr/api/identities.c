/*
 * IdentityService: who there is. Tokens and enrolment are in enrol.c.
 *
 * A changed role and a deletion act when they are on disk, on calls that are open too: the gate
 * is asked about each of them again, and the connections of a deleted certificate are closed.
 */
#include "lxmgr/api/identities.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

#define SUBJECT_MAX 256u

/* Roles in projects that are there; each once. `none`: UNSPECIFIED is one, too. */
static int check_project_roles(struct lx_manager *m, size_t n, Lxmgr__V1__ProjectRole *const *v, bool none,
			       struct lx_err *err)
{
	if (n > LX_IDENTITY_PROJECTS)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "an identity has roles in at most %u projects",
				  LX_IDENTITY_PROJECTS);
	for (size_t i = 0; i < n; i++) {
		const char *project = v[i]->project;

		if (v[i]->role > LXMGR__V1__ROLE__ROLE_ADMIN ||
		    v[i]->role < (none ? LXMGR__V1__ROLE__ROLE_UNSPECIFIED : LXMGR__V1__ROLE__ROLE_VIEWER))
			return lx_err_set(err, LX_INVALID_ARGUMENT,
					  "there is no such role in project %s: viewer, operator or admin",
					  project);
		if (lx_str_empty(project))
			return lx_err_set(err, LX_INVALID_ARGUMENT, "a role in a project needs its name");
		/* One that is gone may be taken back. */
		if (v[i]->role && !lx_project_for_new(m, project, err))
			return -ENOENT;
		for (size_t k = 0; k < i; k++)
			if (lx_streq(v[k]->project, project))
				return lx_err_set(err, LX_INVALID_ARGUMENT, "project %s is given twice",
						  project);
	}
	return 0;
}

int lx_api_set_project_role(Lxmgr__V1__Identity *pb, const char *project, Lxmgr__V1__Role role)
{
	size_t i = 0;

	while (i < pb->n_projects && !lx_streq(pb->projects[i]->project, project))
		i++;
	if (role && i == pb->n_projects) {
		Lxmgr__V1__ProjectRole **grown = realloc(pb->projects, (i + 1) * sizeof(*grown));
		Lxmgr__V1__ProjectRole *one = grown ? malloc(sizeof(*one)) : NULL;

		if (grown)
			pb->projects = grown;
		if (!one)
			return -ENOMEM;
		lxmgr__v1__project_role__init(one);
		pb->projects[pb->n_projects++] = one;
		if (lx_pb_set(&one->project, project) < 0)
			return -ENOMEM;
	}
	if (role) {
		pb->projects[i]->role = role;
	} else if (i < pb->n_projects) {
		lx_pb_free(pb->projects[i]);
		memmove(&pb->projects[i], &pb->projects[i + 1],
			(--pb->n_projects - i) * sizeof(*pb->projects));
	}
	return 0;
}

int lx_api_check_identity(struct lx_manager *m, const char *name, const struct lx_rights *rights,
			  const char *description, struct lx_err *err)
{
	int r = lx_name_check("identity", name, err);

	if (r < 0)
		return r;
	if (lx_map_has(&m->identities->by_name, name)) {
		r = lx_err_set(err, LX_ALREADY_EXISTS, "identity %s already exists", name);
		lx_err_hint(err, "Choose another name, or delete it first: lxmgr identity delete %s", name);
		return r;
	}
	if (lx_map_count(&m->identities->by_name) >= LX_MAX_IDENTITIES)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "there are %u identities already",
				  LX_MAX_IDENTITIES);
	if (rights->role > LXMGR__V1__ROLE__ROLE_ADMIN ||
	    (rights->role < LXMGR__V1__ROLE__ROLE_VIEWER && !rights->n))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "identity %s needs a role: viewer, operator or admin", name);
	if ((r = check_project_roles(m, rights->n, rights->projects, false, err)) < 0)
		return r;
	if (strlen(description) > LX_IDENTITY_DESCRIPTION)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the description of identity %s is longer than %u bytes", name,
				  LX_IDENTITY_DESCRIPTION);
	return 0;
}

Lxmgr__V1__Identity *lx_api_identity_new(const char *name, Lxmgr__V1__IdentityType type,
					 const struct lx_rights *rights, const char *subject,
					 const char *description)
{
	Lxmgr__V1__Identity *pb = malloc(sizeof(*pb));

	if (!pb)
		return NULL;
	lxmgr__v1__identity__init(pb);
	pb->type = type;
	pb->role = rights->role;
	pb->created_at_ns = (int64_t)lx_now_realtime_ns();
	int r = lx_pb_set(&pb->name, name);

	if (r == 0)
		r = lx_pb_set(&pb->subject, subject);
	if (r == 0)
		r = lx_pb_set(&pb->description, description);
	for (size_t i = 0; i < rights->n && r == 0; i++)
		r = lx_api_set_project_role(pb, rights->projects[i]->project, rights->projects[i]->role);
	if (r == 0)
		return pb;
	lx_pb_free(pb);
	return NULL;
}

int lx_api_identity_txn(struct lx_txn *txn, const Lxmgr__V1__Identity *pb)
{
	size_t len;
	lx_autofree uint8_t *spec = lx_pb_pack(&pb->base, &len);

	if (!spec)
		return -ENOMEM;
	lx_txn_exec(txn, "INSERT INTO identities (name, type, subject, spec) VALUES (?1, ?2, ?3, ?4)");
	lx_txn_text(txn, pb->name);
	lx_txn_int(txn, pb->type);
	lx_txn_text(txn, pb->subject);
	lx_txn_blob(txn, spec, len);
	return 0;
}

int lx_api_identity_sign(struct lx_manager *m, const char *csr_pem, const char *name,
			 const struct lx_rights *rights, const char *description, Lxmgr__V1__Identity **ret,
			 char **ret_pem, struct lx_err *err)
{
	char fingerprint[65];
	int r;

	if (strlen(csr_pem) > LX_CSR_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the certificate request of %s is too large",
				  name);
	if ((r = lx_ca_sign(m, csr_pem, name, "client", ret_pem, fingerprint, err)) < 0)
		return r;
	*ret = lx_api_identity_new(name, LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_CERTIFICATE, rights,
				   fingerprint, description);
	if (!*ret) {
		free(*ret_pem);
		*ret_pem = NULL;
		return lx_err_oom(err);
	}
	(*ret)->expires_at_ns =
		(*ret)->created_at_ns + (int64_t)LX_CERT_DAYS * 86400 * (int64_t)LX_NSEC_PER_SEC;
	return 0;
}

/* ------------------------------------------------------------------ looking */

static void api_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_manager *m = arg;
	const struct lx_map *all = &m->identities->by_name;
	Lxmgr__V1__ListIdentitiesResponse resp = LXMGR__V1__LIST_IDENTITIES_RESPONSE__INIT;
	lx_autofree Lxmgr__V1__Identity **list = calloc(lx_map_count(all) + 1, sizeof(*list));

	if (!list) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	resp.identities = list;
	for (struct lx_map_entry *e = lx_map_first(all); e; e = lx_map_next(e))
		list[resp.n_identities++] = lx_map_value(e);
	lx_call_reply(call, &resp.base);
}

static void api_get(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__IdentityRequest *req = (const void *)msg;
	const struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	const Lxmgr__V1__Identity *pb = lx_identity_find(m->identities, req->name, &err);

	if (pb)
		lx_call_reply(call, &pb->base);
	else
		lx_call_fail(call, &err);
}

static void api_who_am_i(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const struct lx_manager *m = arg;
	const struct lx_peer *peer = lx_call_peer(call);
	const Lxmgr__V1__Identity *own;
	Lxmgr__V1__Identity reply = LXMGR__V1__IDENTITY__INIT;
	char user[128], uid[16];
	enum lx_role role = lx_gate_role(m, peer, LX_PROJECTS_ALL, &own);

	if (own) {
		lx_call_reply(call, &own->base);
		return;
	}
	/* Root, the manager's own user, or somebody of the socket's group. */
	lx_gate_user(m, peer, user, sizeof(user));
	snprintf(uid, sizeof(uid), "%u", (unsigned)peer->uid);
	reply.name = user;
	reply.type = LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_USER;
	reply.role = (Lxmgr__V1__Role)role;
	reply.subject = uid;
	lx_call_reply(call, &reply.base);
}

/* ------------------------------------------------------------------ create */

struct creation {
	Lxmgr__V1__Identity *pb;
	char *certificate;
};

static void creation_free(struct creation *c)
{
	if (!c)
		return;
	lx_pb_free(c->pb);
	free(c->certificate);
	free(c);
}

static void on_created(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	struct creation *c = data;
	struct lx_err e = *err;
	Lxmgr__V1__CreateIdentityResponse reply = LXMGR__V1__CREATE_IDENTITY_RESPONSE__INIT;

	if (e.code == LX_ALREADY_EXISTS)
		lx_err_set(&e, LX_ALREADY_EXISTS, "there is an identity for %s already", c->pb->subject);
	reply.identity = c->pb;
	reply.certificate_pem = c->certificate ? c->certificate : reply.certificate_pem;
	reply.ca_pem = c->certificate ? m->ca_pem : reply.ca_pem;
	lx_api_answer(call, &reply.base, &e);
	if (e.code == LX_OK) {
		lx_info("identity created", "identity=%s role=%s", c->pb->name,
			lx_role_name((enum lx_role)c->pb->role));
		if (lx_identity_put(m->identities, lx_move_ptr(c->pb)) < 0)
			lx_error("out of memory for an identity", "");
		lx_gate_changed(m);
	}
	creation_free(c);
}

static bool id_exists(bool group, const char *name)
{
	struct passwd pw, *user = NULL;
	struct group gr, *found = NULL;
	char buf[16384];
	uint64_t id;

	if (lx_parse_u64(name, &id) == 0)
		return id <= UINT32_MAX;
	if (group)
		return getgrnam_r(name, &gr, buf, sizeof(buf), &found) == 0 && found;
	return getpwnam_r(name, &pw, buf, sizeof(buf), &user) == 0 && user;
}

static int check_unix(bool group, const char *name, struct lx_err *err)
{
	const char *what = group ? "group" : "user";
	int r;

	if (strlen(name) > SUBJECT_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the name of a %s has at most %u bytes", what,
				  SUBJECT_MAX);
	if (!group && (lx_streq(name, "root") || lx_streq(name, "0")))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "root is an admin always");
	if (id_exists(group, name))
		return 0;
	r = lx_err_set(err, LX_NOT_FOUND, "the manager's machine has no %s %s", what, name);
	lx_err_hint(err, "Make it first, or name it by its number.");
	return r;
}

static int make(struct lx_manager *m, const Lxmgr__V1__CreateIdentityRequest *req, struct creation *c,
		struct lx_err *err)
{
	bool user = !lx_str_empty(req->user), group = !lx_str_empty(req->group),
	     csr = !lx_str_empty(req->csr_pem);
	const struct lx_rights rights = { req->role, req->n_projects, req->projects };
	int r = lx_api_check_identity(m, req->name, &rights, req->description, err);

	if (r < 0)
		return r;
	if (user + group + csr != 1)
		return lx_err_set(
			err, LX_INVALID_ARGUMENT,
			"identity %s needs exactly one of a user, a group and a certificate request",
			req->name);
	if (csr)
		return lx_api_identity_sign(m, req->csr_pem, req->name, &rights, req->description, &c->pb,
					    &c->certificate, err);
	if ((r = check_unix(group, user ? req->user : req->group, err)) < 0)
		return r;
	c->pb = lx_api_identity_new(req->name,
				    user ? LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_USER
					 : LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_GROUP,
				    &rights, user ? req->user : req->group, req->description);
	return c->pb ? 0 : lx_err_oom(err);
}

static void create(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct creation *c = calloc(1, sizeof(*c));
	struct lx_txn *txn = c ? lx_txn_new(NULL) : NULL;
	int r = txn ? make(m, (const void *)msg, c, &err) : lx_err_oom(&err);

	if (r == 0 && lx_api_identity_txn(txn, c->pb) < 0)
		r = lx_err_oom(&err);
	if (r == 0 && lx_api_commit(m, call, lx_move_ptr(txn), on_created, c, &err) == 0)
		return;
	lx_txn_free(txn);
	creation_free(c);
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ update, delete */

static void on_updated(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	Lxmgr__V1__Identity *next = data;

	lx_api_answer(call, &next->base, err);
	if (err->code != LX_OK) {
		lx_pb_free(next);
		return;
	}
	lx_info("identity changed", "identity=%s role=%s", next->name,
		lx_role_name((enum lx_role)next->role));
	if (lx_identity_put(m->identities, next) < 0)
		lx_error("out of memory for an identity", "");
	lx_gate_changed(m);
}

/* 0 or -ENOMEM. */
static int apply(Lxmgr__V1__Identity *next, const Lxmgr__V1__UpdateIdentityRequest *req)
{
	int r = req->set_description ? lx_pb_set(&next->description, req->description) : 0;

	if (req->role || req->drop_role)
		next->role = req->role;
	for (size_t i = 0; i < req->n_set_projects && r == 0; i++)
		r = lx_api_set_project_role(next, req->set_projects[i]->project, req->set_projects[i]->role);
	return r;
}

/* What it will be. NULL: refused. */
static Lxmgr__V1__Identity *changed(struct lx_manager *m, const Lxmgr__V1__UpdateIdentityRequest *req,
				    struct lx_err *err)
{
	const Lxmgr__V1__Identity *now = lx_identity_find(m->identities, req->name, err);

	if (!now)
		return NULL;
	if (req->role > LXMGR__V1__ROLE__ROLE_ADMIN || req->role < LXMGR__V1__ROLE__ROLE_UNSPECIFIED) {
		lx_err_set(err, LX_INVALID_ARGUMENT, "there is no such role: viewer, operator or admin");
		return NULL;
	}
	if (req->drop_role && req->role) {
		lx_err_set(err, LX_INVALID_ARGUMENT, "a role cannot be given and taken back at once");
		return NULL;
	}
	if (check_project_roles(m, req->n_set_projects, req->set_projects, true, err) < 0)
		return NULL;
	if (req->set_description && strlen(req->description) > LX_IDENTITY_DESCRIPTION) {
		lx_err_set(err, LX_INVALID_ARGUMENT, "the description of identity %s is longer than %u bytes",
			   req->name, LX_IDENTITY_DESCRIPTION);
		return NULL;
	}
	Lxmgr__V1__Identity *next = LX_PB_DUP(Lxmgr__V1__Identity, now);

	if (!next || apply(next, req) < 0) {
		lx_err_oom(err);
	} else if (!next->role && !next->n_projects) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "identity %s would have no role left", next->name);
		lx_err_hint(err, "Delete it instead: lxmgr identity delete %s", next->name);
	} else if (next->n_projects > LX_IDENTITY_PROJECTS) {
		lx_err_set(err, LX_INVALID_ARGUMENT, "an identity has roles in at most %u projects",
			   LX_IDENTITY_PROJECTS);
	} else {
		return next;
	}
	lx_pb_free(next);
	return NULL;
}

static void update(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__Identity *next = changed(m, (const void *)msg, &err);

	if (next && lx_api_commit(m, call,
				  lx_txn_named_spec("UPDATE identities SET spec = ?2 WHERE name = ?1",
						    next->name, &next->base),
				  on_updated, next, &err) == 0)
		return;
	lx_pb_free(next);
	lx_call_fail(call, &err);
}

static void on_deleted(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	lx_autofree char *name = data;
	const Lxmgr__V1__Identity *pb = lx_map_get(&m->identities->by_name, name);
	Lxmgr__V1__DeleteIdentityResponse reply = LXMGR__V1__DELETE_IDENTITY_RESPONSE__INIT;

	lx_api_answer(call, &reply.base, err);
	if (err->code != LX_OK || !pb)
		return;
	if (pb->type == LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_CERTIFICATE && m->server)
		lx_server_drop_peer(m->server, pb->subject);
	lx_identity_drop(m->identities, name);
	lx_info("identity deleted", "identity=%s", name);
	lx_gate_changed(m);
}

static void delete (struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__IdentityRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;

	if (lx_identity_find(m->identities, req->name, &err)) {
		char *name = strdup(req->name);
		struct lx_txn *txn = name ? lx_txn_new(NULL) : NULL;

		if (txn) {
			lx_txn_exec(txn, "DELETE FROM identities WHERE name = ?1");
			lx_txn_text(txn, name);
		}
		if (lx_api_commit(m, call, txn, on_deleted, name, &err) == 0)
			return;
		free(name);
	}
	lx_call_fail(call, &err);
}

LX_TURN_METHOD(api_create, true, create)
LX_TURN_METHOD(api_update, true, update)
LX_TURN_METHOD(api_delete, true, delete)

static const struct lx_method methods[] = {
	{ .name = "List", .unary = api_list },
	{ .name = "Get", .unary = api_get },
	{ .name = "Create", .unary = api_create },
	{ .name = "Update", .unary = api_update },
	{ .name = "Delete", .unary = api_delete },
	{ .name = "CreateToken", .unary = lx_api_identity_create_token },
	{ .name = "ListTokens", .unary = lx_api_identity_list_tokens },
	{ .name = "DeleteToken", .unary = lx_api_identity_delete_token },
	{ .name = "Enrol", .unary = lx_api_identity_enrol },
	{ .name = "WhoAmI", .unary = api_who_am_i },
};

const struct lx_service lx_api_identities = { &lxmgr__v1__identity_service__descriptor, methods,
					      LX_ARRAY_SIZE(methods) };
