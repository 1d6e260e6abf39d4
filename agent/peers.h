/*
 * The certificates of the cluster's agents, as the manager says them: a machine that was taken
 * out keeps one that our CA has signed, and must be nobody from then on. Kept as
 * state/peers.pb, so that it holds while the manager is away and after a restart. An agent that
 * was never told (by an older manager) goes by the CA alone.
 */
#ifndef LX_AGENT_PEERS_H
#define LX_AGENT_PEERS_H

#include "agent/agent.h"

int lx_peers_load(struct lx_agent *a, struct lx_err *err);
/* The method. */
void lx_peers_set_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
/* May an agent that shows this certificate call? */
bool lx_peers_know(const struct lx_agent *a, const char *fingerprint);
/* The fingerprint that a node must show; NULL: any that the CA has signed. Fails for a stranger. */
int lx_peers_expect(const struct lx_agent *a, const char *node, const char **ret, struct lx_err *err);

#endif
