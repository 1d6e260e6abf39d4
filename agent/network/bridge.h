/* The bridge interface of a network. */
#ifndef LX_AGENT_NETWORK_BRIDGE_H
#define LX_AGENT_NETWORK_BRIDGE_H

#include <stdint.h>

#include <netlink/netlink.h>

#include "agent/network/config.h"
#include "lib/err.h"

/*
 * Creates or adjusts it: hardware address (lx_network_hwaddr), MTU, addresses (and no others),
 * up. An interface of that name which is not ours is refused.
 */
int lx_bridge_sync(struct nl_sock *sock, const struct lx_network_config *config, uint32_t mtu,
		   struct lx_err *err);

/* Whether it exists, is up and has these addresses already. */
bool lx_bridge_is_up(struct nl_sock *sock, const struct lx_network_config *config);

/* Removes it when it is there and ours. */
int lx_bridge_delete(struct nl_sock *sock, const char *name, struct lx_err *err);

/* Its present MTU; 0 when it does not exist. */
uint32_t lx_bridge_mtu(struct nl_sock *sock, const char *name);

#endif
