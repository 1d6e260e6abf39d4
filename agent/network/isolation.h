/*
 * Projects that share a bridge do not reach each other: `bridge lxproject_<bridge>`, which is there
 * only while instances of more than one project are in the cluster's networks.
 *
 *   across    what the bridge passes on to one of its ports: from a local card, whose project its
 *             port says, to cards of the same project alone, and to other machines; from another
 *             machine, whose guard has seen to its being honest, the sender's address says it
 *   gate      what is for this machine (the gateway) is not to be routed to another project's
 *             addresses, in this network or another one
 *
 * A card that nobody has told of yet reaches no other. Each frame costs two look-ups, however many
 * cards and projects there are. All of it follows from the manager's request: what it says of cards
 * does not depend on where they are, so an instance that moves finds it in place.
 */
#ifndef LX_AGENT_NETWORK_ISOLATION_H
#define LX_AGENT_NETWORK_ISOLATION_H

#include "agent/network/config.h"
#include "lib/buf.h"

#define LX_ISOLATION_TABLE_PREFIX "lxproject_"
/* Projects told apart in one network; with more of them, nothing of it is set. */
#define LX_ISOLATION_PROJECTS_MAX 1000

/*
 * Appends commands for `nft -f -` that make the network's table what it should be; nothing when
 * it needs none. 0 or -ENOMEM. Pure.
 */
int lx_isolation_table(struct lx_buf *out, const struct lx_network_config *config,
		       const Lxmgr__V1__ApplyNetworksRequest *req, const Lxmgr__V1__NetworkSpec *spec);
/* Appends commands that remove the table, if it is there. */
int lx_isolation_remove(struct lx_buf *out, const char *network);

#endif
