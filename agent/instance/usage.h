/* What running instances use, sampled while somebody watches. */
#ifndef LX_AGENT_INSTANCE_USAGE_H
#define LX_AGENT_INSTANCE_USAGE_H

#include "agent/agent.h"

int lx_usage_open(struct lx_agent *a, struct lx_err *err);
void lx_usage_close(struct lx_agent *a);
/* The set of watchers has changed, and with it how often they want to know. */
void lx_usage_retime(struct lx_agent *a);

#endif
