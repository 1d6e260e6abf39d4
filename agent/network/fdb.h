/*
 * Forwarding entries of a VXLAN interface: in its own table, which says to which machine a
 * frame goes, and in that of the bridge it is plugged into, which says through which port.
 */
#ifndef LX_AGENT_NETWORK_FDB_H
#define LX_AGENT_NETWORK_FDB_H

#include <netlink/netlink.h>

#include "agent/network/config.h"
#include "lib/err.h"

/*
 * One entry. With a destination it is the tunnel's: hardware address 00:00:00:00:00:00 means
 * what has no entry of its own, broadcasts too, and may have many destinations. Without one
 * (family 0) it is the bridge's: that address is behind this port.
 */
struct lx_fdb_entry {
	uint8_t hwaddr[LX_HWADDR_BYTES];
	struct lx_subnet dst;
};

/*
 * Makes the interface's static entries these and no others; only differences are touched, and
 * what the bridge learned by itself is left alone.
 */
int lx_fdb_sync(struct nl_sock *sock, int ifindex, const struct lx_fdb_entry *want, size_t n,
		struct lx_err *err);

/* Sets one, replacing another destination of the same address. */
int lx_fdb_set(struct nl_sock *sock, int ifindex, const struct lx_fdb_entry *entry, struct lx_err *err);
/* Removes what both tables say of the address, learned or not; nothing there is fine. */
int lx_fdb_forget(struct nl_sock *sock, int ifindex, const uint8_t hwaddr[LX_HWADDR_BYTES],
		  struct lx_err *err);

#endif
