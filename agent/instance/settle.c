/*
 * Finding out what is really there. Needed when the agent starts, and when a worker died
 * half-way through a step:
 *
 *   probe ----it runs----> RUNNING or FROZEN
 *     |
 *     +--it does not----> clean up ----> STOPPED, or gone when there is no specification
 *
 * None of it touches an instance that runs. A worker that dies over this as well is tried
 * again; when it fails for good the instance is in ERROR, with the reason.
 */
#include "agent/instance/cards.h"
#include "agent/instance/monitor.h"
#include "agent/instance/task.h"

#define ATTEMPTS 5

static void probe(struct lx_task *t);

static void end(struct lx_task *t)
{
	lx_task_end(t, &t->why);
}

static void fail(struct lx_task *t, const struct lx_err *err)
{
	struct lx_err why = t->why.code != LX_OK ? t->why : *err;

	lx_instance_move(t->inst, LX_ERROR, err->msg);
	lx_task_end(t, &why);
}

static void fail_or_retry(struct lx_task *t, const struct lx_job_end *job)
{
	if (job->crashed && ++t->attempts < ATTEMPTS)
		probe(t);
	else
		fail(t, job->err);
}

static void on_destroyed(struct lx_task *t, const struct lx_job_end *job)
{
	if (job->err->code != LX_OK) {
		fail_or_retry(t, job);
		return;
	}
	t->gone = true;
	end(t);
}

static void on_cleaned(struct lx_task *t, const struct lx_job_end *job)
{
	struct lx_instance *inst = t->inst;

	if (job->err->code != LX_OK) {
		fail_or_retry(t, job);
		return;
	}
	lx_monitor_stop(inst);
	lx_instance_move(inst, LX_STOPPED, t->why.msg);
	/* After a restart of the machine, whether it is wanted is for autostart.c to read. */
	if (inst->agent->rebooted)
		end(t);
	else
		lx_task_store(t, false, end);
}

static void on_probed(struct lx_task *t, const struct lx_job_end *job)
{
	struct lx_instance *inst = t->inst;
	struct lx_err err = LX_ERR_INIT;
	int r;

	if (job->err->code != LX_OK) {
		fail_or_retry(t, job);
		return;
	}
	if (job->result->running) {
		lx_cards_seen(inst, job->result->n_veths, job->result->veths);
		lx_monitor_start(inst, job->result->monitor_pid);
		lx_instance_move(
			inst, lx_cgroup_is_frozen(&inst->agent->cgroups, inst->name) ? LX_FROZEN : LX_RUNNING,
			NULL);
		end(t);
		return;
	}
	if (lx_instance_on_disk(inst))
		r = lx_task_job(t, LX_JOB_WORK,
				lx_job_message(inst->spec, LXMGR__V1__WORKER_JOB__JOB_CLEANUP, NULL),
				on_cleaned, &err);
	else
		r = lx_task_job(t, LX_JOB_WORK,
				lx_job_message(inst->spec, LXMGR__V1__WORKER_JOB__JOB_DESTROY, NULL),
				on_destroyed, &err);
	if (r < 0)
		fail(t, &err);
}

static void probe(struct lx_task *t)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_task_job(t, LX_JOB_WORK, lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_PROBE, NULL),
			on_probed, &err) < 0)
		fail(t, &err);
}

void lx_task_settle(struct lx_task *t, const struct lx_err *why)
{
	t->why = why ? *why : LX_ERR_INIT;
	t->attempts = 0;
	probe(t);
}

/* ------------------------------------------------------------------ at start */

static void look(struct lx_task *t)
{
	lx_task_settle(t, NULL);
}

static int begin(struct lx_task *t, struct lx_err *err)
{
	if (lx_snapshots_unfinished(t->inst))
		lx_snapshots_mend(t, look);
	else
		look(t);
	return 0;
}

const struct lx_verb lx_verb_look = {
	.name = "look at",
	.doing = "looked at",
	.begin = begin,
	.own = true,
};
