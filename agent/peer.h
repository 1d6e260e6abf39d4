/* Connections to other agents of the cluster: mutual TLS, each side known by its certificate. */
#ifndef LX_AGENT_PEER_H
#define LX_AGENT_PEER_H

#include "agent/agent.h"

/* To the agent of `node`; whoever answers with another name is refused. Closed by the caller. */
int lx_peer_dial(struct lx_agent *a, const char *node, const char *address, struct lx_channel **ret,
		 struct lx_err *err);

#endif
