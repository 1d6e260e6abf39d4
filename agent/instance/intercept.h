/*
 * Who makes the system calls that stop (agent/worker/intercept/daemon.h), as long as the instance runs:
 * its end is noticed by that of a connection, and another one is started. What it tells of refusals is
 * counted (agent/denial/).
 */
#ifndef LX_AGENT_INSTANCE_INTERCEPT_H
#define LX_AGENT_INSTANCE_INTERCEPT_H

#include "agent/instance/instance.h"

/* The instance runs, since just now or from before us. Nothing to do where no call stops. */
void lx_intercept_adopt(struct lx_instance *inst);
void lx_intercept_drop(struct lx_instance *inst);

#endif
