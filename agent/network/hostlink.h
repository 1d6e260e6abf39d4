/*
 * How the machines themselves reach instances of other machines, and these them.
 *
 * All nodes have the gateway's address, so no packet that has to find its way back may come
 * from it. Each node therefore has one of its own in the network (host4, host6), and the route
 * to the subnet prefers it as source. On layer 2 it is like the gateway's: whichever node an
 * instance asks, that node answers for all of them, with the hardware address that all bridges
 * have, so that nothing in the instance's caches is wrong after a move. Between the nodes the
 * packets are routed, through an interface (lxh<id>) that has nothing else to carry:
 *
 *   node A's process -> route to the instance -> lxh, to node B -> B's bridge -> instance
 *   instance -> B's bridge (for A's address too) -> route to A's address -> lxh -> A
 *
 * No question is ever asked on that interface: neighbours and directions are all set here.
 */
#ifndef LX_AGENT_NETWORK_HOSTLINK_H
#define LX_AGENT_NETWORK_HOSTLINK_H

#include <netlink/netlink.h>

#include "agent/network/plan.h"

/* Makes routes, neighbours and directions what the plan says; only differences are touched. */
int lx_hostlink_sync(struct nl_sock *sock, const struct lx_network_config *config, const struct lx_plan *plan,
		     int ifindex, struct lx_err *err);

/* What lx_hostlink_sync() left on the bridge, when no machine is a peer any more (`plan` has none). */
void lx_hostlink_forget(struct nl_sock *sock, const struct lx_network_config *config,
			const struct lx_plan *plan);

/* The route to one instance: set, or (at NULL) removed. */
int lx_hostlink_route(struct nl_sock *sock, const struct lx_network_config *config,
		      const struct lx_remote *remote, int ifindex, struct lx_err *err);

/*
 * One that has come to this machine, as if it had been heard of: asked for before its card is plugged in,
 * it would not answer, and the kernel asks again a second later. What cannot be set is asked for.
 */
void lx_hostlink_meet(struct nl_sock *sock, const struct lx_network_config *config,
		      const struct lx_remote *card);

/* The source address of the route to the subnet: the node's own. For a network without peers too. */
int lx_hostlink_prefer(struct nl_sock *sock, const struct lx_network_config *config, struct lx_err *err);

#endif
