/*
 * The two VXLAN interfaces of a network that more than one machine has:
 *
 *   lxv<id>   plugged into the bridge: instances reach those of other machines, layer 2
 *   lxh<id>   not plugged in: the machines themselves, layer 3 (hostlink.h)
 */
#ifndef LX_AGENT_NETWORK_TUNNEL_H
#define LX_AGENT_NETWORK_TUNNEL_H

#include <net/if.h>

#include <netlink/netlink.h>

#include "agent/network/plan.h"

/* Not 4789, which other software of this machine may use in another way. */
#define LX_VXLAN_PORT 8473

struct lx_tunnel {
	int guests; /* interface indices */
	int hosts;
};

/* Names of the two. Pure. */
char *lx_tunnel_guests_name(uint32_t vxlan_id, char out[IFNAMSIZ]);
char *lx_tunnel_hosts_name(uint32_t vxlan_id, char out[IFNAMSIZ]);
/* Whether an interface's name is of the second kind: its routes are ours. Pure. */
bool lx_tunnel_is_hosts_name(const char *name);
/* Whether it is one of either kind, and of which network; 0: none. Pure. */
uint32_t lx_tunnel_id(const char *name);

/* Creates or adjusts both; the bridge stands. What does not fit is made anew. */
int lx_tunnel_sync(struct nl_sock *sock, const struct lx_network_config *config, const struct lx_plan *plan,
		   uint32_t mtu, struct lx_tunnel *ret, struct lx_err *err);

/* Removes the network's, whatever their number; none is fine. */
int lx_tunnel_delete(struct nl_sock *sock, const char *network, struct lx_err *err);

/* Removes those that have not this number (0: all of them). */
int lx_tunnel_delete_others(struct nl_sock *sock, const char *network, uint32_t vxlan_id, struct lx_err *err);

/* The MTU of the interface that has this address; 0 when none has. */
uint32_t lx_tunnel_underlay_mtu(struct nl_sock *sock, const struct lx_subnet *self);

#endif
