/*
 * Starting: STOPPED (or ERROR) --> STARTING --> RUNNING. One job does it all; it creates the
 * instance first when it is new. What a start that failed has left, its worker has removed;
 * when the worker died as well, settle.c does.
 */
#include <string.h>

#include "agent/denial/denials.h"
#include "agent/instance/cards.h"
#include "agent/instance/monitor.h"
#include "agent/instance/task.h"
#include "profiles/apparmor.h"

/* Nobody may be waiting for it: an instance that starts by itself. */
static void note_refusal(const struct lx_instance *inst, const struct lx_err *err)
{
	const char *const details[] = { "reason", err->msg, NULL };
	const struct lx_denial d = {
		.instance = inst->name, .kind = "start", .operation = "start", .count = 1, .details = details
	};

	if (strstr(err->msg, LX_REFUSAL_APPARMOR) || strstr(err->msg, LX_REFUSAL_SELINUX))
		lx_denials_note(inst->agent, &d);
}

static void on_started(struct lx_task *t, const struct lx_job_end *end)
{
	struct lx_instance *inst = t->inst;

	if (end->err->code != LX_OK) {
		note_refusal(inst, end->err);
		lx_task_settle(t, end->err);
		return;
	}
	lx_monitor_start(inst, end->result->monitor_pid);
	lx_instance_move(inst, LX_RUNNING, NULL);
	lx_task_end(t, NULL);
}

void lx_task_boot(struct lx_task *t)
{
	struct lx_instance *inst = t->inst;
	struct lx_err err = LX_ERR_INIT;

	/* Wanted running from now on; the worker stores it. */
	inst->spec->started = true;
	inst->seen = (struct lx_instance_seen){ 0 };
	if (lx_cards_guard(inst, &err) < 0 ||
	    lx_task_job(t, LX_JOB_WORK, lx_job_message(inst->spec, LXMGR__V1__WORKER_JOB__JOB_START, NULL),
			on_started, &err) < 0)
		lx_task_settle(t, &err);
}

static int begin(struct lx_task *t, struct lx_err *err)
{
	struct lx_instance *inst = t->inst;

	if (inst->state == LX_RUNNING)
		return 1;
	if (inst->state == LX_FROZEN)
		return lx_instance_need_running(inst, err);
	lx_instance_move(inst, LX_STARTING, NULL);
	lx_task_boot(t);
	return 0;
}

const struct lx_verb lx_verb_start = { .name = "start", .doing = "started", .begin = begin };
