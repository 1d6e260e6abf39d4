/* Networks as the nodes are told of them: what the files of cluster/ share about it. */
#ifndef LX_LXMGR_CLUSTER_NETWORKS_H
#define LX_LXMGR_CLUSTER_NETWORKS_H

#include "lxmgr/manager.h"

/* The longest host name and the NUL. */
#define LX_NODE_HOST_TEXT 256

/* networks.c: tells this node, as soon as it is online and nothing else is on its way to it. */
void lx_node_send_networks(struct lx_node *n);
/* The host part of its address: "10.0.0.1" of "10.0.0.1:8444", "fd00::1" of "[fd00::1]:8444". */
void lx_node_host(const struct lx_node *n, char *buf, size_t size);

/* hosts.c: the node's own addresses in the network, "" when it has none. */
void lx_host_addresses(struct lx_manager *m, const Lxmgr__V1__Network *net, const char *node, char *ipv4,
		       char *ipv6, size_t size);
/*
 * Gives every network its number and every node its addresses in every network, and takes back
 * those of nodes that are gone: written down first, then in memory, then all nodes are told. At
 * once when no change of the cluster is under way, else soon.
 */
void lx_hosts_settle(struct lx_manager *m);
/*
 * What the network should have, as a copy to be stored: NULL when it has it already, or without
 * memory. New addresses are taken from its pool.
 */
Lxmgr__V1__Network *lx_hosts_assign(struct lx_manager *m, const Lxmgr__V1__Network *net);

#endif
