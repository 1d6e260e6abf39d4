/* How fast an interface sends, which for a host end is how fast its guest receives. */
#ifndef LX_AGENT_NETWORK_RATE_H
#define LX_AGENT_NETWORK_RATE_H

#include <stdint.h>

#include <netlink/netlink.h>

#include "lib/err.h"

/* Bytes a second; 0: no bound, and none is left of before. */
int lx_rate_set(struct nl_sock *route, int ifindex, uint64_t bytes_per_second, struct lx_err *err);

#endif
