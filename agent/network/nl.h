/* Netlink through libnl: a socket for requests, errors in our form. */
#ifndef LX_AGENT_NETWORK_NL_H
#define LX_AGENT_NETWORK_NL_H

#include <netlink/addr.h>
#include <netlink/netlink.h>

#include "agent/network/subnet.h"
#include "lib/err.h"

/* `protocol`: NETLINK_ROUTE, NETLINK_NETFILTER. */
int lx_nl_open(int protocol, struct nl_sock **ret, struct lx_err *err);

/* Fills an error from one of libnl's (negative NLE_*). Returns a negative errno. */
int lx_nl_err(struct lx_err *err, int nle, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Whether libnl says that the thing does not exist. */
bool lx_nl_is_absent(int nle);

/* A libnl address as a subnet; false when it is neither IPv4 nor IPv6. NULL is fine. */
bool lx_nl_subnet(struct nl_addr *addr, struct lx_subnet *out);

#endif
