/*
 * Deleting: --> DELETING --> gone. With force whatever runs is killed by the same job.
 * Deleting what is not here is success: a repeated request cannot tell the difference.
 */
#include <errno.h>

#include "agent/instance/task.h"

static void on_destroyed(struct lx_task *t, const struct lx_job_end *end)
{
	if (end->err->code != LX_OK) {
		struct lx_err err = *end->err;

		/* Half of it may be gone: only deleting again makes sense, or a look by a person. */
		lx_instance_move(t->inst, LX_ERROR, err.msg);
		lx_task_end(t, &err);
		return;
	}
	t->gone = true;
	lx_task_end(t, NULL);
}

static int begin(struct lx_task *t, struct lx_err *err)
{
	struct lx_instance *inst = t->inst;

	if (!t->force && inst->state != LX_STOPPED && inst->state != LX_ERROR) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "%s cannot be deleted: it is %s", inst->name,
			   lx_instance_state_name(inst));
		lx_err_hint(err, "Stop it first (lxmgr stop %s), or use --force.", inst->name);
		return -EBUSY;
	}
	int r = lx_task_job(t, LX_JOB_WORK,
			    lx_job_message(inst->spec, LXMGR__V1__WORKER_JOB__JOB_DESTROY, NULL),
			    on_destroyed, err);

	if (r == 0)
		lx_instance_move(inst, LX_DELETING, NULL);
	return r;
}

static void answer(const struct lx_task *t, struct lx_call *call)
{
	Lxmgr__V1__AgentDeleteInstanceResponse resp = LXMGR__V1__AGENT_DELETE_INSTANCE_RESPONSE__INIT;

	lx_call_reply(call, &resp.base);
}

const struct lx_verb lx_verb_delete = {
	.name = "delete", .doing = "deleted", .begin = begin, .answer = answer, .overtakes = true
};

void lx_instance_delete_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentInstanceRequest *req = (const void *)msg;
	struct lx_agent *a = arg;

	if (lx_map_has(&a->instances, req->name))
		lx_task_call(a, call, &lx_verb_delete, req);
	else
		answer(NULL, call);
}
