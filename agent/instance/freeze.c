/*
 * Freezing: RUNNING --> FREEZING --> FROZEN, and back by unfreezing. The processes stay as
 * they are, without processor time.
 */
#include "agent/instance/task.h"

static void on_done(struct lx_task *t, const struct lx_job_end *end, enum lx_instance_state to)
{
	if (end->err->code != LX_OK) {
		lx_task_settle(t, end->err);
		return;
	}
	lx_instance_move(t->inst, to, NULL);
	lx_task_end(t, NULL);
}

static void on_frozen(struct lx_task *t, const struct lx_job_end *end)
{
	on_done(t, end, LX_FROZEN);
}

static void on_thawed(struct lx_task *t, const struct lx_job_end *end)
{
	on_done(t, end, LX_RUNNING);
}

static int run(struct lx_task *t, bool frozen, lx_task_step step, struct lx_err *err)
{
	Lxmgr__V1__WorkerJob *msg = lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_FREEZE, NULL);

	if (msg)
		msg->freeze->frozen = frozen;
	return lx_task_job(t, LX_JOB_WORK, msg, step, err);
}

static int begin_freeze(struct lx_task *t, struct lx_err *err)
{
	struct lx_instance *inst = t->inst;

	if (inst->state == LX_FROZEN)
		return 1;
	int r = lx_instance_need_running(inst, err);

	if (r == 0)
		r = run(t, true, on_frozen, err);
	if (r == 0)
		lx_instance_move(inst, LX_FREEZING, NULL);
	return r;
}

static int begin_unfreeze(struct lx_task *t, struct lx_err *err)
{
	struct lx_instance *inst = t->inst;

	if (inst->state == LX_RUNNING)
		return 1;
	if (inst->state != LX_FROZEN)
		return lx_instance_need_running(inst, err);
	return run(t, false, on_thawed, err);
}

const struct lx_verb lx_verb_freeze = { .name = "freeze", .doing = "frozen", .begin = begin_freeze };
const struct lx_verb lx_verb_unfreeze = { .name = "unfreeze", .doing = "unfrozen", .begin = begin_unfreeze };
