/*
 * Watching a running instance from outside: its init and liblxc's monitor, init's parent,
 * through pidfds. Neither is touched; the agent may come and go.
 */
#ifndef LX_AGENT_INSTANCE_MONITOR_H
#define LX_AGENT_INSTANCE_MONITOR_H

#include "agent/instance/instance.h"

/*
 * Begins to watch. What has gone already, or is somebody else by now, counts as gone:
 * lx_monitor_act() sees to it at the end of the task.
 */
void lx_monitor_start(struct lx_instance *inst, pid_t monitor);
void lx_monitor_stop(struct lx_instance *inst);
/* The monitor's child. True when it has one that was not watched before: it is watched from now on. */
bool lx_monitor_find_init(struct lx_instance *inst);
/* When something has gone and no task is at work: lets ending.c see to it. */
void lx_monitor_act(struct lx_instance *inst);

#endif
