/*
 * Addresses with a prefix length, IPv4 and IPv6 alike. Pure: text in, text out.
 *
 * A subnet keeps the address it was written with ("10.88.0.1/16" is the bridge's address and
 * its network at once); comparisons look only at the prefix.
 */
#ifndef LX_AGENT_NETWORK_SUBNET_H
#define LX_AGENT_NETWORK_SUBNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct lx_subnet {
	int family; /* AF_INET, AF_INET6; 0: none */
	uint8_t addr[16];
	unsigned prefix;
};

/* The longest text: an IPv6 address, "/128" and the NUL. */
#define LX_SUBNET_TEXT 52

/* Bits and bytes of an address of this family. */
unsigned lx_subnet_bits(int family);
size_t lx_subnet_bytes(int family);

/* "ADDRESS/PREFIX" of that family. `what` names it in the message ("ipv4.address"). */
int lx_subnet_parse(const char *what, int family, const char *text, struct lx_subnet *out,
		    struct lx_err *err);
/* "ADDRESS" alone: a subnet of one. */
int lx_subnet_parse_host(const char *what, int family, const char *text, struct lx_subnet *out,
			 struct lx_err *err);

/*
 * Whether a host can have this address: not the network's own, the broadcast, a multicast,
 * loopback, link-local or unspecified one. 0 or -EINVAL.
 */
int lx_subnet_check_host(const char *what, const struct lx_subnet *s, struct lx_err *err);

/* The same prefix with all host bits 0 / 1. */
struct lx_subnet lx_subnet_network(const struct lx_subnet *s);
struct lx_subnet lx_subnet_broadcast(const struct lx_subnet *s);

bool lx_subnet_equal(const struct lx_subnet *a, const struct lx_subnet *b);
bool lx_subnet_overlaps(const struct lx_subnet *a, const struct lx_subnet *b);
/* Whether the whole of `inner` lies within `outer`. */
bool lx_subnet_contains(const struct lx_subnet *outer, const struct lx_subnet *inner);

/* "10.88.0.1/16", "10.88.0.1", "10.88.0.0/16", "255.255.0.0" (IPv4 only). Return buf. */
char *lx_subnet_format(const struct lx_subnet *s, char buf[LX_SUBNET_TEXT]);
char *lx_subnet_format_host(const struct lx_subnet *s, char buf[LX_SUBNET_TEXT]);
char *lx_subnet_format_network(const struct lx_subnet *s, char buf[LX_SUBNET_TEXT]);
char *lx_subnet_format_mask(const struct lx_subnet *s, char buf[LX_SUBNET_TEXT]);

/*
 * A private subnet of that family and size which overlaps none of `taken`, with its first
 * host address: what a refusal proposes. False when there is none.
 */
bool lx_subnet_suggest(int family, unsigned prefix, const struct lx_subnet *taken, size_t n,
		       struct lx_subnet *out);

#endif
