/*
 * What joins this machine's bridge of a network to those of the others: interfaces (tunnel.h),
 * directions (fdb.h), and the way of the machines themselves (hostlink.h).
 */
#ifndef LX_AGENT_NETWORK_OVERLAY_H
#define LX_AGENT_NETWORK_OVERLAY_H

#include "agent/network/context.h"
#include "agent/network/plan.h"

/*
 * After the bridge stands. Without peers, or for a network of this machine alone, what there
 * was is removed. *bad is the first peer or lease that could not be used; the others count.
 */
int lx_overlay_sync(struct lx_network *n, uint32_t mtu, struct lx_err *bad, struct lx_err *err);

/* The MTU of a network that does not set one, out of the uplink's. */
uint32_t lx_overlay_mtu(const struct lx_network_ctx *ctx, const struct lx_network_config *config,
			uint32_t uplink_mtu);

#endif
