/* The interface this machine reaches the world through: that of its default route. */
#ifndef LX_AGENT_NETWORK_UPLINK_H
#define LX_AGENT_NETWORK_UPLINK_H

#include <stdint.h>

#include <netlink/netlink.h>

#define LX_MTU_DEFAULT 1500

struct lx_uplink {
	int ifindex; /* 0: there is none */
	uint32_t mtu;
};

/* The best IPv4 default route counts, else the best IPv6 one; without any: no interface, 1500. */
struct lx_uplink lx_uplink_find(struct nl_sock *sock);

#endif
