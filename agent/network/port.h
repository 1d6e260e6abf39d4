/* A guest's card as a port of its bridge: what is the interface's own, and is lost with it. */
#ifndef LX_AGENT_NETWORK_PORT_H
#define LX_AGENT_NETWORK_PORT_H

#include "agent/network/guard.h"

/*
 * Sets it all; repeating it is harmless. 1 when there is no such interface, or it is in no bridge.
 *
 *   unicast     goes to the port it is for and to no other: the address is entered by hand, not
 *               learned, and frames for addresses nobody knows do not come here (no sniffing)
 *   isolation   as asked for
 *   rate        to the guest, by a token bucket
 *   queue       frames from the guest wait in a queue of its own, served in turn with the others':
 *               without it all guests on a CPU share one, and who floods it silences the rest
 */
int lx_port_set(struct nl_sock *route, const struct lx_guard *g, struct lx_err *err);

#endif
