/* Limits before they are stored. */
#ifndef LX_AGENT_INSTANCE_LIMITS_CHECK_H
#define LX_AGENT_INSTANCE_LIMITS_CHECK_H

#include "agent/instance/instance.h"

/* AgentService.CheckLimits. */
void lx_limits_check_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg);

#endif
