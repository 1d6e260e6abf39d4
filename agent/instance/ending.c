/*
 * An instance whose init has exited by itself: did it reboot, or is this the end?
 *
 *      RUNNING --init exits--> STOPPING --monitor has a new child--> RUNNING (rebooted)
 *                                 |
 *                                 +--monitor exits--> cleaned up --> STOPPED
 *                                                         |
 *                                       it was restored,  +--------> STARTING
 *                                       and asked for a restart
 *
 * There is no notice of a child of somebody else: the monitor is asked every few
 * milliseconds. A monitor that does neither within PATIENCE_MS is a matter for a person; its
 * exit is still noticed later.
 */
#include "agent/instance/monitor.h"
#include "agent/instance/task.h"
#include "agent/loop.h"
#include "lib/log.h"

#define POLL_MS     5u
#define PATIENCE_MS 10000u

static void fail(struct lx_task *t, const struct lx_err *err)
{
	struct lx_err why = *err;

	lx_instance_move(t->inst, LX_ERROR, why.msg);
	lx_task_end(t, &why);
}

static void on_cleaned(struct lx_task *t, const struct lx_job_end *end)
{
	if (end->err->code != LX_OK) {
		lx_task_settle(t, end->err);
	} else if (t->restart) {
		/* liblxc's monitor of a restored instance does not start it again. */
		lx_info("instance reboots", "instance=%s", t->inst->name);
		lx_instance_move(t->inst, LX_STARTING, NULL);
		lx_task_boot(t);
	} else {
		lx_task_stopped(t);
	}
}

static void clean_up(struct lx_task *t)
{
	struct lx_err err = LX_ERR_INIT;

	t->restart = t->inst->wants_restart;
	lx_monitor_stop(t->inst);
	if (lx_task_job(t, LX_JOB_WORK,
			lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_CLEANUP, NULL), on_cleaned,
			&err) < 0)
		fail(t, &err);
}

static void rebooted(struct lx_task *t)
{
	lx_info("instance rebooted", "instance=%s pid=%d", t->inst->name, t->inst->init);
	lx_instance_move(t->inst, LX_RUNNING, NULL);
	lx_task_end(t, NULL);
}

static void give_up(struct lx_task *t)
{
	struct lx_instance *inst = t->inst;
	struct lx_err err = LX_ERR_INIT;

	inst->init_gone = false; /* acted upon */
	lx_err_set(&err, LX_INTERNAL,
		   "init of %s has exited, but its monitor (process %d) goes on without one", inst->name,
		   inst->monitor);
	lx_err_hint(&err, "End it: lxmgr stop %s --force", inst->name);
	fail(t, &err);
}

static void poll(void *arg)
{
	struct lx_task *t = arg;

	if (!t->inst->monitor_gone && !lx_monitor_find_init(t->inst) && t->ticks++ < PATIENCE_MS / POLL_MS)
		return;
	lx_timer_drop(&t->timer);
	if (t->inst->monitor_gone)
		clean_up(t);
	else if (t->inst->init_gone)
		give_up(t);
	else
		rebooted(t);
}

static int begin(struct lx_task *t, struct lx_err *err)
{
	struct lx_instance *inst = t->inst;
	int r = lx_timer_start(inst->agent->loop, 0, POLL_MS, poll, t, &t->timer, err);

	if (r == 0)
		lx_instance_move(inst, LX_STOPPING, NULL);
	return r;
}

const struct lx_verb lx_verb_end = {
	.name = "clean up after",
	.doing = "cleaned up after its end",
	.begin = begin,
	.own = true,
};
