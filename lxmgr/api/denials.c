/* DenialService: what is remembered of instances, and what rules would make of it. */
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/project.h"
#include "lxmgr/warnings/warnings.h"
#include "profiles/suggest.h"
#include "proto/pb.h"

/* Records that go into one suggestion. */
#define RECORDS_MAX 65536u

/* ------------------------------------------------------------------ list, forget */

static int latest_first(const void *a, const void *b)
{
	const Lxmgr__V1__Denial *x = *(Lxmgr__V1__Denial *const *)a, *y = *(Lxmgr__V1__Denial *const *)b;

	return (x->last_ns < y->last_ns) - (x->last_ns > y->last_ns);
}

static void api_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	Lxmgr__V1__Denials none = LXMGR__V1__DENIALS__INIT;
	struct lx_err err = LX_ERR_INIT;
	const struct lx_inst *inst =
		lx_inst_find(arg, lx_call_project(call),
			     ((const Lxmgr__V1__DenialsRequest *)(const void *)msg)->name, &err);

	if (!inst) {
		lx_call_fail(call, &err);
		return;
	}
	if (inst->denials && inst->denials->n_denials)
		qsort(inst->denials->denials, inst->denials->n_denials, sizeof(*inst->denials->denials),
		      latest_first);
	lx_call_reply(call, inst->denials ? &inst->denials->base : &none.base);
}

static void on_forgotten(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	lx_autofree char *uuid = data;
	struct lx_inst *inst = lx_map_get(&m->instances_by_uuid, uuid);
	Lxmgr__V1__ForgetDenialsResponse resp = LXMGR__V1__FORGET_DENIALS_RESPONSE__INIT;

	if (err->code == LX_OK && inst) {
		lx_pb_free(inst->denials);
		inst->denials = NULL;
		inst->denials_dirty = false;
	}
	lx_api_answer(call, &resp.base, err);
}

static void forget(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__DenialsRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	const struct lx_inst *inst = lx_inst_find(arg, lx_call_project(call), req->name, &err);
	char *uuid = inst ? strdup(inst->pb->uuid) : NULL;
	struct lx_txn *txn = inst ? lx_txn_new(NULL) : NULL;

	if (inst && (!uuid || !txn))
		lx_err_oom(&err);
	if (err.code == LX_OK) {
		lx_txn_exec(txn, "DELETE FROM denials WHERE instance = ?1");
		lx_txn_text(txn, uuid);
		if (lx_api_commit(arg, call, lx_move_ptr(txn), on_forgotten, uuid, &err) == 0)
			return;
	}
	lx_txn_free(txn);
	free(uuid);
	lx_call_fail(call, &err);
}

LX_TURN_METHOD(api_forget, true, forget)

/* ------------------------------------------------------------------ suggest */

static bool uses(const struct lx_inst *inst, const char *project, const char *profile)
{
	if (!lx_same_project(inst->pb->project, project))
		return false;
	for (size_t i = 0; i < inst->pb->n_profiles; i++)
		if (lx_streq(inst->pb->profiles[i], profile))
			return true;
	return false;
}

struct subject {
	const struct lx_inst *inst; /* or */
	const Lxmgr__V1__Profile *profile;
	const char *project; /* in which it was looked for */
};

static int find(struct lx_manager *m, const char *project, const Lxmgr__V1__SuggestRequest *req,
		struct subject *ret, struct lx_err *err)
{
	bool any = lx_str_empty(req->of);

	if (!any && !lx_streq(req->of, "instance") && !lx_streq(req->of, "profile"))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "rules are for an \"instance\" or a \"profile\", not \"%.32s\"", req->of);
	if (any || lx_streq(req->of, "instance"))
		ret->inst = lx_inst_find(m, project, req->name, NULL);
	if (any || lx_streq(req->of, "profile"))
		ret->profile = lx_profile_find(m, project, req->name, NULL);
	if (ret->inst && ret->profile) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT, "%s is an instance and a profile", req->name);

		lx_err_hint(err, "Say which one is meant: --of instance, or --of profile.");
		return r;
	}
	if (ret->inst || ret->profile)
		return 0;
	int r = lx_err_set(err, LX_NOT_FOUND, "there is no %s%s %.64s", any ? "instance or profile" : "",
			   any ? "" : req->of, req->name);

	lx_err_hint(err, "lxmgr list and lxmgr profile list show what there is.");
	return r;
}

/* Borrowed records of one instance. */
static int collect(const struct lx_inst *inst, Lxmgr__V1__Denial ***list, size_t *n,
		   Lxmgr__V1__SuggestResponse *resp)
{
	const Lxmgr__V1__Denials *d = inst->denials;
	size_t more = d ? d->n_denials : 0;

	if (lx_pb_strv_add(&resp->n_instances, &resp->instances, inst->pb->name) < 0)
		return -ENOMEM;
	if (more == 0 || *n + more > RECORDS_MAX)
		return 0;
	Lxmgr__V1__Denial **grown = realloc(*list, (*n + more) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	memcpy(grown + *n, d->denials, more * sizeof(*grown));
	*list = grown;
	*n += more;
	return 0;
}

static int collect_all(struct lx_manager *m, const struct subject *s, Lxmgr__V1__Denial ***list, size_t *n,
		       Lxmgr__V1__SuggestResponse *resp)
{
	int r = 0;

	if (s->inst)
		return collect(s->inst, list, n, resp);
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e && r == 0; e = lx_map_next(e))
		if (uses(lx_map_value(e), s->project, s->profile->name))
			r = collect(lx_map_value(e), list, n, resp);
	return r;
}

static int answer(struct lx_manager *m, const struct subject *s, Lxmgr__V1__SuggestResponse *resp,
		  struct lx_err *err)
{
	lx_autofree Lxmgr__V1__Denial **list = NULL;
	struct lx_map config;
	size_t n = 0;
	int r;

	lx_map_init(&config, free);
	r = s->inst ? lx_pb_map_to(s->inst->pb->n_expanded_config, s->inst->pb->expanded_config, &config)
		    : lx_pb_map_to(s->profile->n_config, s->profile->config, &config);
	if (r == 0)
		r = lx_pb_set(&resp->of, s->inst ? "instance" : "profile");
	if (r == 0)
		r = collect_all(m, s, &list, &n, resp);
	if (r == 0) {
		const struct lx_suggest_input in = { .config = &config, .n = n, .denials = list };

		r = lx_suggest(&in, resp);
	}
	lx_map_release(&config);
	return r < 0 ? lx_err_oom(err) : 0;
}

static void api_suggest(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	Lxmgr__V1__SuggestResponse *resp = malloc(sizeof(*resp));
	struct lx_err err = LX_ERR_INIT;
	struct subject s = { .project = lx_call_project(call) };

	if (!resp) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	lxmgr__v1__suggest_response__init(resp);
	if (find(arg, s.project, (const void *)msg, &s, &err) == 0 && answer(arg, &s, resp, &err) == 0)
		lx_call_reply(call, &resp->base);
	else
		lx_call_fail(call, &err);
	lx_pb_free(resp);
}

static const struct lx_method methods[] = {
	{ .name = "List", .unary = api_list },
	{ .name = "Suggest", .unary = api_suggest },
	{ .name = "Forget", .unary = api_forget },
};

const struct lx_service lx_api_denials = { &lxmgr__v1__denial_service__descriptor, methods,
					   LX_ARRAY_SIZE(methods) };
