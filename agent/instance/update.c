/*
 * Changing the specification: limits act at once on a running instance, the rest at its next
 * start; the answer names those keys. When a limit is refused nothing has changed.
 */
#include <errno.h>

#include "agent/instance/cards.h"
#include "agent/instance/task.h"
#include "profiles/privileged.h"
#include "proto/pb.h"

static void on_done(struct lx_task *t, const struct lx_job_end *end)
{
	struct lx_instance *inst = t->inst;
	struct lx_err err = *end->err;

	if (err.code == LX_OK &&
	    lx_pb_strv_copy(&t->n_needs_restart, &t->needs_restart, end->result->n_needs_restart,
			    end->result->needs_restart) < 0)
		lx_err_oom(&err);
	if (err.code == LX_OK && lx_instance_set_spec(inst, t->spec, &err) == 0) {
		lx_watch_instance(inst->agent, inst);
		(void)lx_cards_update(inst, &err);
	}
	lx_task_end(t, &err);
}

static int begin(struct lx_task *t, struct lx_err *err)
{
	t->spec->started = t->inst->spec->started; /* not for a request to say */
	return lx_task_job(t, LX_JOB_WORK, lx_job_message(t->spec, LXMGR__V1__WORKER_JOB__JOB_LIMITS, NULL),
			   on_done, err);
}

static void answer(const struct lx_task *t, struct lx_call *call)
{
	struct lx_report report;
	Lxmgr__V1__AgentUpdateInstanceResponse resp = LXMGR__V1__AGENT_UPDATE_INSTANCE_RESPONSE__INIT;

	lx_instance_report(t->inst, &report);
	resp.instance = &report.pb;
	resp.n_needs_restart = t->n_needs_restart;
	resp.needs_restart = t->needs_restart;
	lx_call_reply(call, &resp.base);
}

const struct lx_verb lx_verb_update = {
	.name = "update", .doing = "updated", .begin = begin, .answer = answer
};

/* ------------------------------------------------------------------ the request */

/* What an instance is made of stays as it was made. */
static int check_change(const struct lx_instance *inst, const Lxmgr__V1__InstanceSpec *new,
			struct lx_err *err)
{
	const Lxmgr__V1__InstanceSpec *old = inst->spec;
	int r = lx_instance_check_generation(inst, new->generation, err);

	if (r < 0)
		return r;
	if (!lx_streq(old->uuid, new->uuid) || !lx_streq(old->image_fingerprint, new->image_fingerprint) ||
	    old->idmap_base != new->idmap_base || old->idmap_size != new->idmap_size)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "uuid, image and id range of %s cannot be changed", inst->name);
	if (lx_privileged_is_on(lx_pb_map_get(old->n_config, old->config, LX_KEY_PRIVILEGED)) !=
	    lx_privileged_is_on(lx_pb_map_get(new->n_config, new->config, LX_KEY_PRIVILEGED)))
		return lx_err_set(err, LX_INVALID_ARGUMENT, LX_KEY_PRIVILEGED " of %s cannot be changed",
				  inst->name);
	return 0;
}

void lx_instance_update_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentUpdateInstanceRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_task *t;

	if (!req->spec) {
		lx_call_failf(call, LX_INVALID_ARGUMENT, "the request brings no specification");
		return;
	}
	int r = lx_task_check_operation(req->operation, &err);
	struct lx_instance *inst = r == 0 ? lx_instance_find(arg, req->spec->name, 0, &err) : NULL;

	r = inst ? check_change(inst, req->spec, &err) : -ENOENT;
	if (r == 0)
		r = lx_task_join(inst, call, &lx_verb_update, req->operation, false, &err);
	Lxmgr__V1__InstanceSpec *spec = r == 0 ? LX_PB_DUP(Lxmgr__V1__InstanceSpec, req->spec) : NULL;

	if (r == 0)
		r = spec ? lx_task_new(inst, &lx_verb_update, req->operation, &t, &err) : lx_err_oom(&err);
	if (r == 0) {
		t->spec = spec;
		lx_task_enter(t, call);
		return;
	}
	lx_pb_free(spec);
	if (r < 0)
		lx_call_fail(call, &err);
}
