/* The bridge interface of a network. */
#ifndef LX_AGENT_NETWORK_BRIDGE_H
#define LX_AGENT_NETWORK_BRIDGE_H

#include <stdint.h>

#include <netlink/netlink.h>

#include "agent/network/config.h"
#include "lib/err.h"

/*
 * Creates or adjusts it: hardware address, MTU, addresses (and no others), up. An interface
 * of that name which is not ours is refused. `seed` tells this agent from others; it and
 * the name make the hardware address, so that it is the same after every boot.
 */
int lx_bridge_sync(struct nl_sock *sock, const struct lx_network_config *config, uint32_t mtu, uint64_t seed,
		   struct lx_err *err);

/* Whether it exists, is up and has these addresses already. */
bool lx_bridge_is_up(struct nl_sock *sock, const struct lx_network_config *config, uint64_t seed);

/* Removes it when it is there and ours. */
int lx_bridge_delete(struct nl_sock *sock, const char *name, uint64_t seed, struct lx_err *err);

/* Its present MTU; 0 when it does not exist. */
uint32_t lx_bridge_mtu(struct nl_sock *sock, const char *name);

#endif
