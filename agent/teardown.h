/* lxagentd --teardown: takes away what an agent leaves on its machine on purpose. */
#ifndef LX_AGENT_TEARDOWN_H
#define LX_AGENT_TEARDOWN_H

#include "agent/agent.h"

/*
 * Removes the networks (bridges, rules, dnsmasq) and the control groups of the agent with these
 * options. State stays: the next start brings the networks back. LX_FAILED_PRECONDITION while an
 * agent runs there or an instance does. Synchronous, on a loop of its own; doing it twice is fine.
 */
int lx_agent_teardown(const struct lx_agent_options *opt, struct lx_err *err);

#endif
