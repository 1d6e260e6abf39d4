/* Restarting: a stop, then a start with the configuration as it is now. Nothing is seen as STOPPED in
 * between. */
#include "agent/instance/task.h"

static void boot(struct lx_task *t)
{
	lx_instance_move(t->inst, LX_STARTING, NULL);
	lx_task_boot(t);
}

static int begin(struct lx_task *t, struct lx_err *err)
{
	struct lx_instance *inst = t->inst;

	if (!lx_instance_is_up(inst))
		return lx_instance_need_running(inst, err);
	int r = lx_task_may_stop(t, err);

	if (r == 0)
		lx_task_stop(t, boot);
	return r;
}

const struct lx_verb lx_verb_restart = {
	.name = "restart", .doing = "restarted", .begin = begin, .overtakes = true
};
