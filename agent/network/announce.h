/*
 * "Here I am now": what an instance would say itself when it is plugged in somewhere else. A
 * restored one does not know that it moved, so the agent says it in its name.
 */
#ifndef LX_AGENT_NETWORK_ANNOUNCE_H
#define LX_AGENT_NETWORK_ANNOUNCE_H

#include <stddef.h>
#include <stdint.h>

#include "agent/network/config.h"
#include "lib/err.h"

#define LX_ARP_FRAME_BYTES 42
#define LX_NA_FRAME_BYTES  86

/*
 * An ARP announcement (RFC 5227, section 3), or with `reply` its form as a reply, for those who
 * update their caches from replies only. Ethernet frame in `out`. Pure.
 */
void lx_announce_arp(const uint8_t hwaddr[LX_HWADDR_BYTES], const struct lx_subnet *v4, bool reply,
		     uint8_t out[LX_ARP_FRAME_BYTES]);
/* An unsolicited neighbour advertisement (RFC 4861, section 7.2.6) to all nodes. Pure. */
void lx_announce_na(const uint8_t hwaddr[LX_HWADDR_BYTES], const struct lx_subnet *v6,
		    uint8_t out[LX_NA_FRAME_BYTES]);

/* A socket for lx_announce(). Kept open: closing one costs more than all that is sent through it. */
int lx_announce_open(int *ret, struct lx_err *err);

/* Sends all forms for the addresses there are (family 0: none) out of the interface. */
int lx_announce(int fd, int ifindex, const uint8_t hwaddr[LX_HWADDR_BYTES], const struct lx_subnet *v4,
		const struct lx_subnet *v6, struct lx_err *err);

#endif
