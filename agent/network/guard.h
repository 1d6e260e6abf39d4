/*
 * What a guest's network card may say: frames from its own hardware address, packets from its own
 * addresses, ARP and neighbour advertisements about those alone, nothing that only a router or a
 * DHCP server says, and no more of it than its rate. The packet filter of a network has it as sets
 * keyed by the card's host end (guard_table.c); a card is a few elements in them, set by one
 * netlink transaction (guard_batch.c) before its host end exists: there is no moment in which it
 * could say more, at a start, after a reboot inside, or at the end of a move.
 */
#ifndef LX_AGENT_NETWORK_GUARD_H
#define LX_AGENT_NETWORK_GUARD_H

#include <net/if.h>
#include <netlink/netlink.h>

#include "agent/network/config.h"
#include "agent/network/network.h"
#include "lib/buf.h"

#define LX_GUARD_TABLE_PREFIX "lxguard_"
#define LX_GUARD_REFUSED      "refused"    /* the set that counts what was dropped, a card an element */
#define LX_GUARD_PRIORITY     "priorities" /* the maps of cards' priorities; "priority" is a word of nft's */
#define LX_GUARD_OBJECT_MAX   48

struct lx_guard {
	char network[LX_NETWORK_NAME_MAX + 1];
	char instance[LX_NAME_MAX + 1];
	char host_name[IFNAMSIZ];
	uint8_t hwaddr[LX_HWADDR_BYTES];
	struct lx_subnet v4;    /* a subnet of one; family 0: none */
	struct lx_subnet v6[2]; /* the lease, and the link-local one that follows from hwaddr */
	struct lx_network_port_options options;
	unsigned port; /* index of the host end that was set up as a port (port.h); 0: none */
};

/* Decodes a card. INVALID_ARGUMENT names it. */
int lx_guard_parse(const struct lx_network_port *port, struct lx_guard *out, struct lx_err *err);

/*
 * Appends commands for `nft -f -` that make the network's guard table what it should be, without
 * touching what its sets hold. 0 or -ENOMEM. Pure.
 */
int lx_guard_table(struct lx_buf *out, const char *network);
/* Appends the elements of one card. Pure. */
int lx_guard_elements(struct lx_buf *out, const struct lx_guard *g);
/* Whether its packets of that family may go the shorter way, past its rate, its priority and what frees
 * it (guard_table.c). */
bool lx_guard_is_plain(const struct lx_guard *g, int family);
/* Appends commands that remove the table, if it is there. */
int lx_guard_remove_table(struct lx_buf *out, const char *network);

/* The name of the limit of what a card may send: another rate is another one. */
const char *lx_guard_limit_name(const struct lx_guard *g, char out[LX_GUARD_OBJECT_MAX]);
/*
 * Bytes a card may send at once before its rate counts, besides a second's worth, which the kernel
 * always grants (nft_limit): two of the largest frames there are (GSO), however small the rate.
 */
#define LX_GUARD_BURST (128u << 10)

/*
 * Adds a card's elements (`now`), takes back those it had (`was`), both may be NULL, in one
 * transaction. The kernel's -ENOENT means that the table is not there, or does not have `was`.
 */
int lx_guard_change(struct nl_sock *netfilter, const struct lx_guard *was, const struct lx_guard *now,
		    struct lx_err *err);
/* What was counted of a card that is gone; there may be nothing. A transaction of its own. */
void lx_guard_forget_refused(struct nl_sock *netfilter, const struct lx_guard *g);

#endif
