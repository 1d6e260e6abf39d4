/*
 * Stopping: RUNNING --> STOPPING --> STOPPED. A clean stop that takes too long leaves the
 * instance RUNNING; whether to use force is for whoever asked to decide. A forced stop may
 * overtake a clean one that still waits.
 */
#include <errno.h>

#include "agent/instance/monitor.h"
#include "agent/instance/task.h"
#include "lib/str.h"

#define TIMEOUT_DEFAULT_S 30u
#define TIMEOUT_MAX_S     86400u

static uint32_t timeout_of(const struct lx_task *t)
{
	uint64_t seconds = t->timeout_seconds;

	if (seconds == 0 &&
	    lx_parse_duration(lx_instance_config(t->inst, "boot.host_shutdown_timeout"), &seconds) < 0)
		seconds = TIMEOUT_DEFAULT_S;
	return seconds > TIMEOUT_MAX_S ? TIMEOUT_MAX_S : (uint32_t)seconds;
}

static void end(struct lx_task *t)
{
	lx_task_end(t, NULL);
}

void lx_task_stopped(struct lx_task *t)
{
	lx_instance_move(t->inst, LX_STOPPED, NULL);
	lx_task_store(t, false, end);
}

static void on_job_done(struct lx_task *t, const struct lx_job_end *job)
{
	struct lx_instance *inst = t->inst;

	t->shutting_down = false;
	if (job->err->code != LX_OK) {
		/* It may run on, it may not: look. */
		lx_task_settle(t, job->err);
		return;
	}
	lx_monitor_stop(inst);
	t->next(t);
}

void lx_task_stop(struct lx_task *t, void (*stopped)(struct lx_task *t))
{
	struct lx_instance *inst = t->inst;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__WorkerJob *msg = lx_job_message(inst->spec, LXMGR__V1__WORKER_JOB__JOB_STOP, NULL);

	if (msg) {
		msg->stop->force = t->force;
		msg->stop->timeout_seconds = timeout_of(t);
	}
	t->next = stopped;
	t->shutting_down = !t->force;
	lx_instance_move(inst, LX_STOPPING, NULL);
	if (lx_task_job(t, t->force ? LX_JOB_WORK : LX_JOB_SESSION, msg, on_job_done, &err) < 0)
		lx_task_settle(t, &err);
}

int lx_task_may_stop(struct lx_task *t, struct lx_err *err)
{
	if (t->inst->state != LX_FROZEN || t->force)
		return 0;
	lx_err_set(err, LX_FAILED_PRECONDITION, "%s is frozen and cannot shut down", t->inst->name);
	lx_err_hint(err, "Let it go on first (lxmgr unfreeze %s), or use --force.", t->inst->name);
	return -EBUSY;
}

static int begin(struct lx_task *t, struct lx_err *err)
{
	if (t->inst->state == LX_STOPPED)
		return 1;
	int r = lx_task_may_stop(t, err);

	if (r == 0)
		lx_task_stop(t, lx_task_stopped);
	return r;
}

const struct lx_verb lx_verb_stop = { .name = "stop", .doing = "stopped", .begin = begin, .overtakes = true };
