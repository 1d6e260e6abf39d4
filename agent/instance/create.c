/*
 * Creating: (new) --> CREATING --> STOPPED, or RUNNING when it is to boot as well: then it is
 * one job. An instance is in the list from the moment its creation begins, and out of it
 * again when that failed before there was something to keep.
 *
 * What exists already with the same uuid and generation is success; the same name for
 * something else is not.
 */
#include "agent/instance/task.h"

#include "lib/qname.h"
#include "proto/pb.h"

static void on_created(struct lx_task *t, const struct lx_job_end *end)
{
	if (end->err->code != LX_OK) {
		lx_task_settle(t, end->err);
		return;
	}
	lx_instance_move(t->inst, LX_STOPPED, NULL);
	lx_task_end(t, NULL);
}

static void create_only(struct lx_task *t)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_task_job(t, LX_JOB_WORK,
			lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_CREATE, NULL), on_created,
			&err) < 0)
		lx_task_settle(t, &err);
}

static int begin(struct lx_task *t, struct lx_err *err)
{
	struct lx_instance *inst = t->inst;

	if (inst->state == LX_CREATING) {
		lx_watch_instance(inst->agent, inst);
		if (t->start)
			lx_task_boot(t);
		else
			create_only(t);
		return 0;
	}
	return t->start ? lx_verb_start.begin(t, err) : 1;
}

const struct lx_verb lx_verb_create = { .name = "create", .doing = "created", .begin = begin };

/* ------------------------------------------------------------------ the request */

static int check_same(const struct lx_instance *inst, const Lxmgr__V1__InstanceSpec *spec, struct lx_err *err)
{
	if (lx_streq(inst->spec->uuid, spec->uuid))
		return lx_instance_check_generation(inst, spec->generation, err);
	lx_err_set(err, LX_ALREADY_EXISTS, "node %s has another instance by the name of %s",
		   inst->agent->node, inst->name);
	lx_err_hint(err, "It has the uuid %s.", inst->spec->uuid);
	return -EEXIST;
}

static int check_new(const struct lx_agent *a, const Lxmgr__V1__InstanceSpec *spec, struct lx_err *err)
{
	int r = lx_qname_check("instance", spec->name, err);

	if (r < 0)
		return r;
	if (*spec->uuid == '\0' || spec->generation == 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s needs a uuid and a generation", spec->name);
	if (!lx_map_has(&a->images, spec->image_fingerprint)) {
		lx_err_set(err, LX_NOT_FOUND, "cannot create %s: image %.16s is not on node %s", spec->name,
			   spec->image_fingerprint, a->node);
		lx_err_hint(err, "Import or build it there first; lxmgr image list shows where images are.");
		return -ENOENT;
	}
	return 0;
}

static int find_or_add(struct lx_agent *a, const Lxmgr__V1__AgentCreateInstanceRequest *req,
		       struct lx_instance **ret, struct lx_err *err)
{
	*ret = lx_map_get(&a->instances, req->spec->name);
	if (*ret)
		return check_same(*ret, req->spec, err);
	int r = check_new(a, req->spec, err);

	return r < 0 ? r : lx_instance_add(a, req->spec, LX_CREATING, ret, err);
}

void lx_instance_create_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentCreateInstanceRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	struct lx_instance *inst = NULL;
	struct lx_task *t;
	struct lx_err err = LX_ERR_INIT;

	if (!req->spec) {
		lx_call_failf(call, LX_INVALID_ARGUMENT, "the request brings no specification");
		return;
	}
	int r = lx_task_check_operation(req->operation, &err);

	if (r == 0)
		r = find_or_add(a, req, &inst, &err);
	if (r == 0)
		r = lx_task_join(inst, call, &lx_verb_create, req->operation, false, &err);
	if (r == 0)
		r = lx_task_new(inst, &lx_verb_create, req->operation, &t, &err);
	if (r == 0) {
		t->start = req->start;
		lx_task_enter(t, call);
		return;
	}
	if (r < 0)
		lx_call_fail(call, &err);
	if (inst && inst->state == LX_CREATING && !inst->task) /* added above, in vain */
		lx_map_del(&a->instances, inst->name);
}
