/* Becoming a member of a cluster. */
#ifndef LX_AGENT_JOIN_H
#define LX_AGENT_JOIN_H

#include "agent/agent.h"

/* With the token of the options; runs the loop until it is through. For an agent that has no identity. */
int lx_join(struct lx_agent *a, struct lx_err *err);

#endif
