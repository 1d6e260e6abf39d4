/* The kernel's switches under /proc/sys/net that routing guests needs. */
#ifndef LX_AGENT_NETWORK_SYSCTL_H
#define LX_AGENT_NETWORK_SYSCTL_H

#include <stdbool.h>

#include "lib/err.h"

/* Turns forwarding on, and leaves it on: others may have come to rely on it. */
int lx_sysctl_forward_v4(struct lx_err *err);
/*
 * The same for IPv6. A host that forwards stops listening to router advertisements, and would
 * lose its own default route: interfaces that listen so far keep listening.
 */
int lx_sysctl_forward_v6(struct lx_err *err);
/* A bridge speaks IPv6 only when it has an address of its own, and never learns routes from guests. */
int lx_sysctl_bridge(const char *bridge, bool v6, struct lx_err *err);
/* A bridge answers at once for the addresses it is told to answer for (proxy neighbours). */
int lx_sysctl_answer_for(const char *bridge, bool v4, bool v6, struct lx_err *err);

#endif
