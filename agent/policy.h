/* AgentService.CheckPolicy. */
#ifndef LX_AGENT_POLICY_H
#define LX_AGENT_POLICY_H

#include "agent/agent.h"

void lx_policy_check_call(struct lx_call *call, const ProtobufCMessage *msg, void *agent);

#endif
