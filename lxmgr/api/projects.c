/*
 * ProjectService. What a project uses is counted when somebody asks; its quotas and restrictions
 * are checked against what it has before they are stored. Deletion is in project_delete.c,
 * renaming in project_rename.c.
 */
#include "lxmgr/api/projects.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/default_profile.h"
#include "lxmgr/quota.h"
#include "profiles/profiles.h"
#include "proto/pb.h"

#define MAX_DESCRIPTION 1024u

/* ------------------------------------------------------------------ reading */

/* With what is output only. NULL: out of memory. */
static Lxmgr__V1__Project *described(struct lx_manager *m, const Lxmgr__V1__Project *pb)
{
	Lxmgr__V1__Project *out = LX_PB_DUP(Lxmgr__V1__Project, pb);
	struct lx_use use;

	if (!out)
		return NULL;
	lx_project_use(m, pb->name, &use);
	out->use = calloc(LX_QUOTA_COUNT, sizeof(*out->use));
	for (size_t q = 0; out->use && q < LX_QUOTA_COUNT; q++) {
		Lxmgr__V1__ProjectUse *u = malloc(sizeof(*u));

		if (!u)
			break;
		lxmgr__v1__project_use__init(u);
		out->use[out->n_use++] = u;
		if (lx_pb_set(&u->name, lx_quota_name((enum lx_quota)q)) < 0)
			break;
		u->used = use.used[q];
		u->unbounded = use.unbounded[q];
		u->limited = lx_quota_limit(pb, (enum lx_quota)q, &u->limit);
	}
	for (struct lx_map_entry *e = lx_map_first(&m->profiles); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Profile *p = lx_map_value(e);

		out->profiles += !p->builtin && lx_same_project(p->project, pb->name);
	}
	if (out->n_use == LX_QUOTA_COUNT)
		return out;
	lx_pb_free(out);
	return NULL;
}

void lx_api_project_answer(struct lx_manager *m, struct lx_call *call, const Lxmgr__V1__Project *pb,
			   const struct lx_err *err)
{
	struct lx_err e = *err;
	Lxmgr__V1__Project *out = e.code == LX_OK && call && pb ? described(m, pb) : NULL;

	if (e.code == LX_OK && !out)
		lx_err_oom(&e);
	lx_api_answer(call, out ? &out->base : NULL, &e);
	lx_pb_free(out);
}

static void api_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_manager *m = arg;
	Lxmgr__V1__ListProjectsResponse resp = LXMGR__V1__LIST_PROJECTS_RESPONSE__INIT;
	lx_autofree Lxmgr__V1__Project **list = calloc(lx_map_count(&m->projects) + 1, sizeof(*list));
	bool oom = !list;

	resp.projects = list;
	for (struct lx_map_entry *e = lx_map_first(&m->projects); e && !oom; e = lx_map_next(e)) {
		const struct lx_project *p = lx_map_value(e);

		if (lx_gate_role(m, lx_call_peer(call), p->pb->name, NULL) == LX_ROLE_NONE)
			continue;
		list[resp.n_projects] = described(m, p->pb);
		oom = !list[resp.n_projects];
		resp.n_projects += !oom;
	}
	if (oom)
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
	else
		lx_call_reply(call, &resp.base);
	for (size_t i = 0; i < resp.n_projects; i++)
		lx_pb_free(list[i]);
}

static void api_get(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ProjectRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	const struct lx_project *p = NULL;

	/* Whether there is such a project is said to those alone who have to do with it. */
	if (lx_gate_role(m, lx_call_peer(call), req->name, NULL) == LX_ROLE_NONE)
		lx_err_set(&err, LX_PERMISSION_DENIED, "you have no role in project %.64s", req->name);
	else
		p = lx_project_find(m, req->name, &err);
	lx_api_project_answer(m, call, p ? p->pb : NULL, &err);
}

/* ------------------------------------------------------------------ checks */

static int check_config(size_t n, const void *entries, struct lx_err *err)
{
	struct lx_pb_entry *const *v = entries;

	if (n > LX_CONFIG_MAX_KEYS)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "more than %u configuration keys",
				  LX_CONFIG_MAX_KEYS);
	for (size_t i = 0; i < n; i++) {
		int r = lx_project_config_check(v[i]->key, v[i]->value, err);

		if (r < 0)
			return r;
		if (lx_pb_map_get(n, entries, v[i]->key) != v[i]->value)
			return lx_err_set(err, LX_INVALID_ARGUMENT, "%s is given twice", v[i]->key);
	}
	return 0;
}

static int check_description(const char *name, const char *description, struct lx_err *err)
{
	return strlen(description) <= MAX_DESCRIPTION
		       ? 0
		       : lx_err_set(err, LX_INVALID_ARGUMENT,
				    "the description of project %s is longer than %u bytes", name,
				    MAX_DESCRIPTION);
}

int lx_api_project_check_name(struct lx_manager *m, const char *name, struct lx_err *err)
{
	int r = lx_name_check("project", name, err);

	if (r < 0)
		return r;
	if (strlen(name) > LX_QNAME_SCOPE_MAX) {
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "project name %s is longer than %u characters", name,
			       LX_QNAME_SCOPE_MAX);
		lx_err_hint(err, "Nodes know its instances as PROJECT_NAME, which has at most %u.",
			    LX_QNAME_MAX);
		return r;
	}
	if (lx_map_has(&m->projects, name)) {
		r = lx_err_set(err, LX_ALREADY_EXISTS, "project %s already exists", name);
		lx_err_hint(err, "Change it with lxmgr project set or edit, or choose another name.");
		return r;
	}
	if (lx_map_count(&m->projects) >= LX_MAX_PROJECTS)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "there are %u projects already",
				  LX_MAX_PROJECTS);
	return 0;
}

/* Does what the project has fit into what it is to be? */
static int check_contents(struct lx_manager *m, Lxmgr__V1__Project *next, struct lx_err *err)
{
	const struct lx_project p = { .pb = next };
	struct lx_use use;
	int r;

	lx_project_use(m, next->name, &use);
	r = lx_use_check(next, &use, err);
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e && r == 0; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);

		if (lx_same_project(inst->pb->project, next->name))
			r = lx_restriction_check(m, &p, inst->pb, err);
	}
	if (r < 0)
		lx_err_hint(err, "Change what there is first: lxmgr project show %s", next->name);
	return r;
}

/* ------------------------------------------------------------------ create */

struct creation {
	Lxmgr__V1__Project *pb;
	Lxmgr__V1__Profile *profile;
};

static void creation_free(struct creation *c)
{
	if (!c)
		return;
	lx_pb_free(c->pb);
	lx_pb_free(c->profile);
	free(c);
}

static void on_created(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	struct creation *c = data;
	struct lx_err e = *err;

	if (e.code == LX_ALREADY_EXISTS)
		lx_err_set(&e, LX_ALREADY_EXISTS, "project %s already exists", c->pb->name);
	if (e.code == LX_OK && lx_profile_put(m, c->profile) == 0)
		c->profile = NULL;
	lx_api_project_answer(m, call, c->pb, &e);
	if (e.code == LX_OK) {
		lx_info("project created", "project=%s", c->pb->name);
		lx_event(m, "lifecycle", "project-created", c->pb->name, c->pb->name, "", NULL);
		if (lx_project_put(m, lx_move_ptr(c->pb)) < 0)
			lx_error("out of memory for a project", "");
	}
	creation_free(c);
}

/* The network of the default project's own default profile, when the new one may use it. */
static const char *shared_network(struct lx_manager *m, const Lxmgr__V1__Project *pb)
{
	const Lxmgr__V1__Profile *p = lx_profile_find(m, LX_PROJECT_DEFAULT, "default", NULL);
	const char *allowed = lx_pb_map_get(pb->n_config, pb->config, "restricted.networks");

	for (size_t i = 0; p && lx_str_empty(allowed) && i < p->n_devices; i++) {
		const Lxmgr__V1__Device *d = p->devices[i]->value;
		const char *network = d ? lx_pb_map_get(d->n_options, d->options, "network") : NULL;

		if (network && lx_network_find(m, LX_PROJECT_DEFAULT, network, NULL))
			return network;
	}
	return NULL;
}

static int fill(struct lx_manager *m, struct creation *c, const Lxmgr__V1__CreateProjectRequest *req)
{
	const ProtobufCMessageDescriptor *entry = &lxmgr__v1__project__config_entry__descriptor;
	Lxmgr__V1__Project *pb = c->pb = malloc(sizeof(*pb));
	int r;

	if (!pb)
		return -1;
	lxmgr__v1__project__init(pb);
	c->profile = malloc(sizeof(*c->profile));
	if (!c->profile)
		return -1;
	lxmgr__v1__profile__init(c->profile);
	pb->created_at_ns = (int64_t)lx_now_realtime_ns();
	/* Who is let into a project only shall not become root of machines: said aloud, to be taken back. */
	r = lx_pb_map_set(entry, &pb->n_config, &pb->config, "restricted.privileged", "true");
	for (size_t i = 0; i < req->n_config && r == 0; i++)
		r = lx_pb_map_set(entry, &pb->n_config, &pb->config, req->config[i]->key,
				  req->config[i]->value);
	if (r < 0 || lx_pb_set(&pb->name, req->name) < 0 || lx_pb_set(&pb->description, req->description) < 0)
		return -1;
	return lx_default_profile(pb->name, shared_network(m, pb), c->profile);
}

static struct lx_txn *creation_txn(const struct creation *c)
{
	struct lx_txn *txn = lx_txn_named_spec("INSERT INTO projects (name, spec) VALUES (?1, ?2)",
					       c->pb->name, &c->pb->base);
	lx_autofree char *key = lx_scoped(c->profile->project, c->profile->name);
	size_t len;
	lx_autofree uint8_t *spec = lx_pb_pack(&c->profile->base, &len);

	if (!txn || !key || !spec) {
		lx_txn_free(txn);
		return NULL;
	}
	lx_txn_exec(txn, "INSERT INTO profiles (name, spec) VALUES (?1, ?2)");
	lx_txn_text(txn, key);
	lx_txn_blob(txn, spec, len);
	return txn;
}

static void create(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__CreateProjectRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct creation *c = NULL;

	if (lx_api_project_check_name(m, req->name, &err) < 0 ||
	    check_description(req->name, req->description, &err) < 0 ||
	    check_config(req->n_config, req->config, &err) < 0)
		goto fail;
	c = calloc(1, sizeof(*c));
	if (!c || fill(m, c, req) < 0) {
		lx_err_oom(&err);
		goto fail;
	}
	if (lx_api_commit(m, call, creation_txn(c), on_created, c, &err) == 0)
		return;
fail:
	creation_free(c);
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ update */

static void on_updated(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	Lxmgr__V1__Project *next = data;

	lx_api_project_answer(m, call, next, err);
	if (err->code == LX_OK)
		(void)lx_project_put(m, next); /* it is there: nothing to allocate */
	else
		lx_pb_free(next);
}

static int change(Lxmgr__V1__Project *pb, const Lxmgr__V1__UpdateProjectRequest *req, struct lx_err *err)
{
	int r = 0;

	for (size_t i = 0; i < req->n_unset_config; i++) {
		if (!lx_pb_map_get(pb->n_config, pb->config, req->unset_config[i]))
			return lx_err_set(err, LX_NOT_FOUND, "project %s does not set %s", pb->name,
					  req->unset_config[i]);
		lx_pb_map_del(&pb->n_config, &pb->config, req->unset_config[i]);
	}
	for (size_t i = 0; i < req->n_set_config && r == 0; i++) {
		const char *value = req->set_config[i]->value;

		if (*value)
			r = lx_pb_map_set(&lxmgr__v1__project__config_entry__descriptor, &pb->n_config,
					  &pb->config, req->set_config[i]->key, value);
		else
			lx_pb_map_del(&pb->n_config, &pb->config, req->set_config[i]->key);
	}
	if (r == 0 && req->set_description)
		r = lx_pb_set(&pb->description, req->description);
	if (r < 0)
		return lx_err_oom(err);
	return pb->n_config <= LX_CONFIG_MAX_KEYS
		       ? 0
		       : lx_err_set(err, LX_INVALID_ARGUMENT, "project %s would have more than %u keys",
				    pb->name, LX_CONFIG_MAX_KEYS);
}

static void update(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__UpdateProjectRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	const struct lx_project *p = lx_project_for_new(m, req->name, &err);
	Lxmgr__V1__Project *next = NULL;

	if (!p || check_config(req->n_set_config, req->set_config, &err) < 0 ||
	    check_description(req->name, req->description, &err) < 0)
		goto fail;
	next = LX_PB_DUP(Lxmgr__V1__Project, p->pb);
	if (!next) {
		lx_err_oom(&err);
		goto fail;
	}
	if (change(next, req, &err) < 0 || check_contents(m, next, &err) < 0)
		goto fail;
	/* The default one has no row before it is changed. */
	if (lx_api_commit(m, call,
			  lx_txn_named_spec("INSERT INTO projects (name, spec) VALUES (?1, ?2)"
					    " ON CONFLICT (name) DO UPDATE SET spec = excluded.spec",
					    next->name, &next->base),
			  on_updated, next, &err) == 0)
		return;
fail:
	lx_pb_free(next);
	lx_call_fail(call, &err);
}

LX_TURN_METHOD(api_create, true, create)
LX_TURN_METHOD(api_update, true, update)
LX_TURN_METHOD(api_delete, true, lx_api_project_delete)
LX_TURN_METHOD(api_rename, true, lx_api_project_rename)

static const struct lx_method methods[] = {
	{ .name = "List", .unary = api_list },     { .name = "Get", .unary = api_get },
	{ .name = "Create", .unary = api_create }, { .name = "Update", .unary = api_update },
	{ .name = "Delete", .unary = api_delete }, { .name = "Rename", .unary = api_rename },
};

const struct lx_service lx_api_projects = { &lxmgr__v1__project_service__descriptor, methods,
					    LX_ARRAY_SIZE(methods) };
