/*
 * What others send to a guest while it stands still.
 *
 * Its cards are out of their bridges then, and what is lost is sent again by TCP only after 200 ms,
 * then 400, 800 ...: a guest that runs again after 300 ms is silent to its peers for 600. So the
 * source takes in the frames that are addressed to it and hands them over with its COMMIT. From then
 * on they are directed to the destination, which takes them in as well, and gives all to the guest
 * when it runs. It is a kindness, not a promise. What does not fit is lost as before; so is what comes
 * after the source has handed over and before a node's directions have changed: a few milliseconds,
 * the longest at nodes that hear of it from the manager. What comes in the moment in which the
 * cards are plugged or unplugged may come twice.
 *
 * The frames are seen on the bridge (packet(7), promiscuous), where those to an address that is in
 * no port are flooded. They keep the header that tells of checksums and segments still to be
 * made (PACKET_VNET_HDR: struct virtio_net_hdr of linux/virtio_net.h), as neighbours on a
 * machine leave both to each other.
 */
#ifndef LX_MIGRATION_TRAFFIC_H
#define LX_MIGRATION_TRAFFIC_H

#include "lib/err.h"
#include "lxmgr/v1/agent.pb-c.h"
#include "lxmgr/v1/migration.pb-c.h"

#define LX_TRAFFIC_CARDS_MAX 16u            /* further ones are not looked at */
#define LX_TRAFFIC_MAX       (512u * 1024u) /* bytes handed over, of all cards together */

struct lx_traffic {
	int fds[LX_TRAFFIC_CARDS_MAX]; /* by card; -1: none */
	unsigned n;
};

#define LX_TRAFFIC_NONE ((struct lx_traffic){ .n = 0 })

/* Ahead of the freeze, as it takes milliseconds; nothing is taken in yet. Released in any case. */
int lx_traffic_open(size_t n_nics, Lxmgr__V1__Nic *const *nics, struct lx_traffic *ret, struct lx_err *err);
/* From now on. */
int lx_traffic_hold(const struct lx_traffic *t, size_t n_nics, Lxmgr__V1__Nic *const *nics,
		    struct lx_err *err);
/* What has come since, oldest first, added to `out`; its owner frees it with the message. */
int lx_traffic_take(const struct lx_traffic *t, Lxmgr__V1__MoveCommit *out, struct lx_err *err);
/*
 * The same for a guest that is plugged in on this machine: from now on nothing is taken in any more, as
 * it comes to the guest by itself. NULL when there is nothing; freed with lx_pb_free().
 */
Lxmgr__V1__MoveCommit *lx_traffic_end(const struct lx_traffic *t);
void lx_traffic_release(struct lx_traffic *t);

/* To the guest, through the host ends of its cards. What the kernel does not take is left out. */
int lx_traffic_deliver(size_t n_nics, Lxmgr__V1__Nic *const *nics, const Lxmgr__V1__MoveCommit *held,
		       struct lx_err *err);

#endif
