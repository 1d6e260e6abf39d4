/*
 * ProfileService. A changed profile reaches the instances that use it at once where its keys
 * allow it: each gets a new specification through its agent, which says what needs a restart.
 */
#include "lxmgr/api/commit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/api/device_role.h"
#include "lxmgr/api/limits_check.h"
#include "lxmgr/api/rules.h"
#include "lxmgr/api/update.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/quota.h"
#include "profiles/profiles.h"
#include "proto/pb.h"

#define MAX_PROFILES    1000u /* of a project */
#define MAX_DESCRIPTION 1024u

/* Does the instance use it? `p` may be what it is to be, of the same project and name. */
static bool uses(const struct lx_inst *inst, const Lxmgr__V1__Profile *p)
{
	/* No profile of anybody's own has a built-in one's name, but those that were there before it. */
	if (!p->builtin && !lx_same_project(inst->pb->project, p->project))
		return false;
	for (size_t i = 0; i < inst->pb->n_profiles; i++)
		if (lx_streq(inst->pb->profiles[i], p->name))
			return true;
	return false;
}

/* Of a built-in one: by those in the call's project. */
static void fill_used_by(struct lx_manager *m, const char *project, Lxmgr__V1__Profile *p)
{
	lx_pb_strv_free(&p->n_used_by, &p->used_by);
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);

		if (uses(inst, p) && lx_same_project(inst->pb->project, p->builtin ? project : p->project))
			lx_pb_strv_add(&p->n_used_by, &p->used_by, inst->pb->name);
	}
}

static int check_own(const Lxmgr__V1__Profile *p, const char *verb, struct lx_err *err)
{
	if (!p->builtin)
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "profile %s is built in and cannot be %s", p->name,
			   verb);

	lx_err_hint(err, "Make one of your own from it: lxmgr profile copy %s NAME", p->name);
	return r;
}

/* Everything a user can put into a profile. */
static int check(struct lx_manager *m, const char *project, const Lxmgr__V1__Profile *p, struct lx_err *err)
{
	int r = lx_name_check("profile", p->name, err);
	if (r < 0)
		return r;
	if (strlen(p->description) > MAX_DESCRIPTION)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the description of profile %s is longer than %u bytes", p->name,
				  MAX_DESCRIPTION);
	r = lx_api_check_config(p->n_config, p->config, err);
	return r < 0 ? r : lx_api_check_devices(m, project, p->n_devices, p->devices, err);
}

static void api_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_manager *m = arg;
	Lxmgr__V1__ListProfilesResponse resp = LXMGR__V1__LIST_PROFILES_RESPONSE__INIT;
	struct lx_scope scope;
	lx_autofree Lxmgr__V1__Profile **list = calloc(lx_map_count(&m->profiles) + 1, sizeof(*list));

	if (!list) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	lx_scope_of(m, call, &scope);
	resp.profiles = list;
	for (struct lx_map_entry *e = lx_map_first(&m->profiles); e; e = lx_map_next(e)) {
		Lxmgr__V1__Profile *p = lx_map_value(e);

		if (!p->builtin && !lx_scope_sees(&scope, p->project))
			continue;
		fill_used_by(m, scope.project, p);
		list[resp.n_profiles++] = p;
	}
	lx_call_reply(call, &resp.base);
}

static void api_get(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ProfileRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__Profile *p = lx_profile_find(arg, lx_call_project(call), req->name, &err);

	if (!p) {
		lx_call_fail(call, &err);
		return;
	}
	fill_used_by(arg, lx_call_project(call), p);
	lx_call_reply(call, &p->base);
}

/* ------------------------------------------------------------------ create */

static void on_created(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	Lxmgr__V1__Profile *p = data;
	struct lx_err e = *err;

	if (e.code == LX_ALREADY_EXISTS)
		lx_err_set(&e, LX_ALREADY_EXISTS, "profile %s already exists", p->name);
	lx_api_answer(call, &p->base, &e);
	if (e.code != LX_OK || lx_profile_put(m, p) < 0)
		lx_pb_free(p);
}

/* The client's message without what is not its to say. */
static Lxmgr__V1__Profile *accept_profile(const Lxmgr__V1__Profile *req, const char *project,
					  uint64_t revision)
{
	Lxmgr__V1__Profile *p = LX_PB_DUP(Lxmgr__V1__Profile, req);
	if (!p)
		return NULL;
	if (lx_pb_set(&p->project, project) < 0) {
		lx_pb_free(p);
		return NULL;
	}
	lx_pb_strv_free(&p->n_used_by, &p->used_by);
	p->revision = revision;
	p->builtin = false;
	return p;
}

static size_t count(struct lx_manager *m, const char *project)
{
	size_t n = 0;

	for (struct lx_map_entry *e = lx_map_first(&m->profiles); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Profile *p = lx_map_value(e);

		n += !p->builtin && lx_same_project(p->project, project);
	}
	return n;
}

/* A statement with ?1 = its key, ?2 = the message. NULL: out of memory. */
static struct lx_txn *spec_txn(const char *sql, const Lxmgr__V1__Profile *p)
{
	lx_autofree char *key = lx_scoped(p->project, p->name);

	return key ? lx_txn_named_spec(sql, key, &p->base) : NULL;
}

static void create(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__Profile *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	const char *project = lx_call_project(call);
	const Lxmgr__V1__Profile *there;
	Lxmgr__V1__Profile *p = NULL;

	if (!lx_project_for_new(m, project, &err) || check(m, project, req, &err) < 0 ||
	    lx_api_check_device_role(m, call, req->n_devices, req->devices, 0, NULL, &err) < 0 ||
	    lx_api_check_config_role(m, call, req->n_config, req->config, 0, NULL, &err) < 0)
		goto fail;
	there = lx_profile_find(m, project, req->name, NULL);
	if (there) {
		lx_err_set(&err, LX_ALREADY_EXISTS, "profile %s already exists%s", req->name,
			   there->builtin ? ": it is built in" : "");
		lx_err_hint(&err,
			    there->builtin
				    ? "Choose another name."
				    : "Change it with lxmgr profile set or edit, or choose another name.");
		goto fail;
	}
	if (count(m, project) >= MAX_PROFILES) {
		lx_err_set(&err, LX_RESOURCE_EXHAUSTED, "there are %u profiles already", MAX_PROFILES);
		goto fail;
	}
	p = accept_profile(req, project, 1);
	if (!p) {
		lx_err_oom(&err);
		goto fail;
	}
	if (lx_api_commit(m, call, spec_txn("INSERT INTO profiles (name, spec) VALUES (?1, ?2)", p),
			  on_created, p, &err) == 0)
		return;
fail:
	lx_pb_free(p);
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ update */

struct change {
	Lxmgr__V1__Profile *p;
	Lxmgr__V1__UpdateProfileResponse *reply;
	struct lx_call *call;
	unsigned waiting; /* instances whose agents have not answered, plus one while they are asked */
};

static void change_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct change *)arg)->call = NULL;
}

static const struct lx_call_events change_events = { .closed = change_call_closed };

static void change_done(struct change *c)
{
	if (--c->waiting)
		return;
	if (c->call) {
		lx_call_set_events(c->call, NULL, NULL);
		lx_call_reply(c->call, &c->reply->base);
	}
	lx_pb_free(c->reply);
	free(c);
}

static void on_instance(struct lx_inst *inst, size_t n_restart, char *const *restart,
			const struct lx_err *err, void *arg)
{
	struct change *c = arg;
	if (inst && err->code == LX_OK && !n_restart)
		lx_pb_strv_add(&c->reply->n_applied, &c->reply->applied, inst->pb->name);
	else if (inst)
		lx_pb_strv_add(&c->reply->n_needs_restart, &c->reply->needs_restart, inst->pb->name);
	change_done(c);
}

/* One that an operation has in hand gets it when that has ended: the call does not wait for it. */
static void on_busy_instance(struct lx_inst *inst, size_t n_restart, char *const *restart,
			     const struct lx_err *err, void *arg)
{
}

static void on_updated(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	struct change *c = data;

	if (err->code != LX_OK || lx_profile_put(m, c->p) < 0) {
		struct lx_err e = *err;
		if (e.code == LX_OK)
			lx_err_oom(&e);
		lx_api_answer(call, NULL, &e);
		lx_pb_free(c->p);
		lx_pb_free(c->reply);
		free(c);
		return;
	}
	fill_used_by(m, c->p->project, c->p);
	c->reply->profile = LX_PB_DUP(Lxmgr__V1__Profile, c->p);
	c->call = call;
	c->waiting = 1;
	if (call)
		lx_call_set_events(call, &change_events, c);
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		struct lx_inst *inst = lx_map_value(e);
		struct lx_err ie = LX_ERR_INIT;
		if (!uses(inst, c->p))
			continue;
		c->waiting++;
		int r = lx_inst_reapply(m, NULL, inst, NULL, inst->op ? on_busy_instance : on_instance, c,
					&ie);
		if (r < 0)
			lx_warn("profile not applied", "profile=%s instance=%s error=\"%s\"", c->p->name,
				inst->key, ie.msg);
		else if (inst->op)
			lx_err_set(&ie, LX_FAILED_PRECONDITION, "it is busy");
		if (ie.code != LX_OK)
			on_instance(inst, 0, NULL, &ie, c);
	}
	change_done(c);
}

/* What an instance would be, checked. NULL: it cannot be. */
static Lxmgr__V1__Instance *with_change(struct lx_manager *m, const struct lx_inst *inst,
					const Lxmgr__V1__Profile *p, struct lx_err *err)
{
	Lxmgr__V1__Instance *copy = LX_PB_DUP(Lxmgr__V1__Instance, inst->pb);
	int r = copy ? lx_inst_expand(m, copy, err) : lx_err_oom(err);

	if (r == 0)
		r = lx_api_check_expanded(copy, err);
	if (r == 0)
		r = lx_api_check_change(inst->pb, copy, err);
	if (r == 0)
		return copy;
	lx_err_wrap(err, "profile %s is used by instance %s", p->name, inst->pb->name);
	lx_pb_free(copy);
	return NULL;
}

/* All that use it as they would be: is each one right, and do they fit into the project together? */
static int check_changed(struct lx_manager *m, const Lxmgr__V1__Profile *p, struct lx_err *err)
{
	Lxmgr__V1__Instance **next = calloc(lx_map_count(&m->instances) + 1, sizeof(Lxmgr__V1__Instance *));
	size_t n = 0;
	int r = next ? 0 : lx_err_oom(err);

	for (struct lx_map_entry *e = lx_map_first(&m->instances); e && r == 0; e = lx_map_next(e)) {
		if (!uses(lx_map_value(e), p))
			continue;
		next[n] = with_change(m, lx_map_value(e), p, err);
		if (next[n])
			n++;
		else
			r = lx_code_errno(err->code);
	}
	if (r == 0 && n && (r = lx_project_check(m, p->project, next, n, err)) < 0)
		lx_err_wrap(err, "profile %s", p->name);
	while (n)
		lx_pb_free(next[--n]);
	free(next);
	return r;
}

/* Checked with the profile in its place, before anything is stored. */
static int check_users(struct lx_manager *m, Lxmgr__V1__Profile *p, struct lx_err *err)
{
	Lxmgr__V1__Profile *old = lx_profile_take(m, p->project, p->name);
	int r = lx_profile_put(m, p);

	r = r < 0 ? lx_err_oom(err) : check_changed(m, p, err);
	lx_profile_take(m, p->project, p->name);
	if (lx_profile_put(m, old) < 0) {
		lx_pb_free(old);
		return lx_err_oom(err);
	}
	return r;
}

/* Those that use it, as they would be with it in its place (it is consumed). How many. */
static size_t limits_with(struct lx_manager *m, Lxmgr__V1__Profile *p, struct lx_limits_change *ret)
{
	Lxmgr__V1__Profile *old = lx_profile_take(m, p->project, p->name);
	size_t n = 0;

	if (lx_profile_put(m, p) == 0) {
		for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
			const struct lx_inst *inst = lx_map_value(e);

			if (!uses(inst, p) || inst->op)
				continue;
			ret[n] = (struct lx_limits_change){ inst, with_change(m, inst, p, NULL) };
			n += ret[n].changed != NULL;
		}
		lx_profile_take(m, p->project, p->name);
	}
	lx_pb_free(p);
	if (lx_profile_put(m, old) < 0)
		lx_pb_free(old);
	return n;
}

static void update(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__Profile *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct change *c = NULL;
	const char *project = lx_call_project(call);
	const Lxmgr__V1__Profile *old = lx_profile_find(m, project, req->name, &err);

	if (!old || check_own(old, "changed", &err) < 0 || check(m, project, req, &err) < 0 ||
	    lx_api_check_device_role(m, call, req->n_devices, req->devices, old->n_devices, old->devices,
				     &err) < 0 ||
	    lx_api_check_config_role(m, call, req->n_config, req->config, old->n_config, old->config, &err) <
		    0)
		goto fail;
	if (req->revision && req->revision != old->revision) {
		lx_err_set(&err, LX_ABORTED, "profile %s was changed by somebody else meanwhile", req->name);
		lx_err_hint(&err, "Read it again and repeat the change.");
		goto fail;
	}
	c = calloc(1, sizeof(*c));
	if (!c || !(c->p = accept_profile(req, project, old->revision + 1)) ||
	    !(c->reply = malloc(sizeof(*c->reply)))) {
		lx_err_oom(&err);
		goto fail;
	}
	lxmgr__v1__update_profile_response__init(c->reply);
	if (check_users(m, c->p, &err) < 0)
		goto fail;
	if (lx_api_commit(m, call, spec_txn("UPDATE profiles SET spec = ?2 WHERE name = ?1", c->p),
			  on_updated, c, &err) == 0)
		return;
fail:
	if (c) {
		lx_pb_free(c->p);
		lx_pb_free(c->reply);
	}
	free(c);
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ delete, rename */

static int check_unused(struct lx_manager *m, Lxmgr__V1__Profile *p, const char *verb, struct lx_err *err)
{
	if (lx_streq(p->name, "default")) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "the default profile cannot be %s", verb);

		lx_err_hint(err, "It can be changed: lxmgr profile edit default");
		return r;
	}
	if (check_own(p, verb, err) < 0)
		return -EPERM;
	fill_used_by(m, p->project, p);
	if (p->n_used_by) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "profile %s is used by %s%s", p->name,
				   p->used_by[0], p->n_used_by > 1 ? " and others" : "");
		lx_err_hint(err, "lxmgr profile show %s lists them; give them other profiles first.",
			    p->name);
		return r;
	}
	return 0;
}

static void on_deleted(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	lx_autofree char *key = data;
	Lxmgr__V1__DeleteProfileResponse reply = LXMGR__V1__DELETE_PROFILE_RESPONSE__INIT;
	if (err->code == LX_OK)
		lx_map_del(&m->profiles, key);
	lx_api_answer(call, &reply.base, err);
}

static void delete (struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ProfileRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__Profile *p = lx_profile_find(m, lx_call_project(call), req->name, &err);

	if (p && check_unused(m, p, "deleted", &err) == 0) {
		char *key = lx_scoped(p->project, p->name);
		struct lx_txn *txn = key ? lx_txn_new(NULL) : NULL;
		if (txn) {
			lx_txn_exec(txn, "DELETE FROM profiles WHERE name = ?1");
			lx_txn_text(txn, key);
		}
		if (lx_api_commit(m, call, txn, on_deleted, key, &err) == 0)
			return;
		free(key);
	}
	lx_call_fail(call, &err);
}

struct renaming {
	char *old; /* its key */
	Lxmgr__V1__Profile *p;
};

static void on_renamed(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	struct renaming *r = data;
	struct lx_err e = *err;

	if (e.code == LX_OK && lx_profile_put(m, r->p) < 0)
		lx_err_oom(&e);
	if (e.code == LX_OK)
		lx_map_del(&m->profiles, r->old);
	lx_api_answer(call, &r->p->base, &e);
	if (e.code != LX_OK)
		lx_pb_free(r->p);
	free(r->old);
	free(r);
}

static void rename_profile(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__RenameProfileRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct renaming *r = NULL;
	const char *project = lx_call_project(call);
	Lxmgr__V1__Profile *p = lx_profile_find(m, project, req->name, &err);
	lx_autofree char *key = p ? lx_scoped(project, req->new_name) : NULL;

	if (!p || check_unused(m, p, "renamed", &err) < 0 ||
	    lx_name_check("profile", req->new_name, &err) < 0)
		goto fail;
	if (lx_profile_find(m, project, req->new_name, NULL)) {
		lx_err_set(&err, LX_ALREADY_EXISTS, "profile %s already exists", req->new_name);
		goto fail;
	}
	r = calloc(1, sizeof(*r));
	if (!r || !key || !(r->old = lx_scoped(project, req->name)) ||
	    !(r->p = accept_profile(p, project, p->revision + 1)) ||
	    lx_pb_set(&r->p->name, req->new_name) < 0) {
		lx_err_oom(&err);
		goto fail;
	}
	struct lx_txn *txn = lx_txn_named_spec("UPDATE profiles SET spec = ?2, name = ?3 WHERE name = ?1",
					       r->old, &r->p->base);
	if (txn)
		lx_txn_text(txn, key);
	if (lx_api_commit(m, call, txn, on_renamed, r, &err) == 0)
		return;
fail:
	if (r) {
		free(r->old);
		lx_pb_free(r->p);
	}
	free(r);
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ the table of keys */

static void api_keys(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	Lxmgr__V1__ListKeysResponse resp = LXMGR__V1__LIST_KEYS_RESPONSE__INIT;
	size_t n;
	const struct lx_config_key *keys = lx_config_keys(&n);
	lx_autofree Lxmgr__V1__ConfigKey *pb = calloc(n, sizeof(*pb));
	lx_autofree Lxmgr__V1__ConfigKey **list = calloc(n, sizeof(*list));
	lx_autofree struct lx_key_range *ranges = calloc(n, sizeof(*ranges));

	if (!pb || !list || !ranges) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		lxmgr__v1__config_key__init(&pb[i]);
		pb[i].name = (char *)(uintptr_t)keys[i].name;
		pb[i].type = (char *)(uintptr_t)keys[i].type;
		pb[i].default_ = (char *)(uintptr_t)keys[i].def;
		pb[i].scope = (char *)(uintptr_t)(keys[i].scope == LX_KEY_LIVE ? "live" : "restart");
		pb[i].help = (char *)(uintptr_t)keys[i].help;
		pb[i].applies_to = (char *)(uintptr_t)lx_key_subject_names[keys[i].subject];
		pb[i].range = (char *)(uintptr_t)lx_config_key_range(&keys[i], &ranges[i]);
		list[i] = &pb[i];
	}
	resp.keys = list;
	resp.n_keys = n;
	lx_call_reply(call, &resp.base);
}

LX_TURN_METHOD(create_in_turn, true, create)
LX_TURN_METHOD(update_in_turn, true, update)
/* Before the turn, which waits for no node. Whatever else is wrong the turn says. */
static void check_limits(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__Profile *req = (const void *)msg;
	struct lx_manager *m = arg;
	const char *project = lx_call_project(call);
	const Lxmgr__V1__Profile *old = lx_profile_find(m, project, req->name, NULL);
	Lxmgr__V1__Profile *p = old && !old->builtin && check(m, project, req, NULL) == 0
					? accept_profile(req, project, old->revision)
					: NULL;
	struct lx_limits_change *changes =
		p ? calloc(lx_map_count(&m->instances) + 1, sizeof(*changes)) : NULL;
	size_t n = 0;

	if (changes)
		n = limits_with(m, p, changes);
	else
		lx_pb_free(p);
	if (n)
		lx_api_check_limits(m, call, msg, changes, n, update_in_turn);
	else
		update_in_turn(call, msg, m);
	while (n)
		lx_pb_free(changes[--n].changed);
	free(changes);
}

LX_TURN_METHOD(api_delete, true, delete)
LX_TURN_METHOD(api_rename, true, rename_profile)

static void api_create(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__Profile *req = (const void *)msg;

	lx_api_check_rules(arg, call, msg, req->n_config, req->config, create_in_turn);
}

static void api_update(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__Profile *req = (const void *)msg;

	lx_api_check_rules(arg, call, msg, req->n_config, req->config, check_limits);
}

static const struct lx_method methods[] = {
	{ .name = "List", .unary = api_list },     { .name = "Get", .unary = api_get },
	{ .name = "Create", .unary = api_create }, { .name = "Update", .unary = api_update },
	{ .name = "Delete", .unary = api_delete }, { .name = "Rename", .unary = api_rename },
	{ .name = "ListKeys", .unary = api_keys },
};

const struct lx_service lx_api_profiles = { &lxmgr__v1__profile_service__descriptor, methods,
					    LX_ARRAY_SIZE(methods) };
