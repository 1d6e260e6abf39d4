/*
 * Subnet arithmetic on plain bytes, so that both families share every function.
 *
 * Happy path: text -> address bytes and prefix length -> comparisons under the prefix. Ways
 * to fail: text that is not an address of the wanted family, a prefix length missing or out
 * of range, an address no host can have; each says which value it was and how a good one looks.
 */
#include "agent/network/subnet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>

#include "lib/cleanup.h"
#include "lib/str.h"

unsigned lx_subnet_bits(int family)
{
	return family == AF_INET ? 32 : 128;
}

size_t lx_subnet_bytes(int family)
{
	return lx_subnet_bits(family) / 8;
}

static const char *family_name(int family)
{
	return family == AF_INET ? "IPv4" : "IPv6";
}

static const char *example(int family)
{
	return family == AF_INET ? "10.88.0.1" : "fd42:88::1";
}

int lx_subnet_parse_host(const char *what, int family, const char *text, struct lx_subnet *out,
			 struct lx_err *err)
{
	struct lx_subnet s = { .family = family, .prefix = lx_subnet_bits(family) };

	if (!text || inet_pton(family, text, s.addr) != 1) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT, "%s: \"%s\" is not an %s address", what,
				   text ? text : "", family_name(family));

		lx_err_hint(err, "It looks like %s.", example(family));
		return r;
	}
	*out = s;
	return 0;
}

int lx_subnet_parse(const char *what, int family, const char *text, struct lx_subnet *out, struct lx_err *err)
{
	const char *slash = text ? strchr(text, '/') : NULL;
	char addr[INET6_ADDRSTRLEN] = "";
	uint64_t prefix = 0;
	struct lx_subnet s;

	if (slash && (size_t)(slash - text) < sizeof(addr))
		memcpy(addr, text, (size_t)(slash - text));
	if (!addr[0] || lx_parse_u64(slash + 1, &prefix) < 0 || prefix > lx_subnet_bits(family) ||
	    lx_subnet_parse_host(what, family, addr, &s, NULL) < 0) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT,
				   "%s: \"%s\" is not an %s address with a prefix length", what,
				   text ? text : "", family_name(family));

		lx_err_hint(err, "It looks like %s/%u.", example(family), family == AF_INET ? 16 : 64);
		return r;
	}
	s.prefix = (unsigned)prefix;
	*out = s;
	return 0;
}

/* The byte that holds the bits from `i * 8` on: which of them belong to the prefix. */
static uint8_t mask_byte(unsigned prefix, size_t i)
{
	unsigned first = (unsigned)i * 8;

	if (prefix <= first)
		return 0;
	return prefix >= first + 8 ? 0xff : (uint8_t)(0xff << (8 - (prefix - first)));
}

static bool same_prefix(const struct lx_subnet *a, const struct lx_subnet *b, unsigned prefix)
{
	for (size_t i = 0; i < lx_subnet_bytes(a->family); i++)
		if ((a->addr[i] ^ b->addr[i]) & mask_byte(prefix, i))
			return false;
	return true;
}

struct lx_subnet lx_subnet_network(const struct lx_subnet *s)
{
	struct lx_subnet n = *s;

	for (size_t i = 0; i < lx_subnet_bytes(s->family); i++)
		n.addr[i] &= mask_byte(s->prefix, i);
	return n;
}

struct lx_subnet lx_subnet_broadcast(const struct lx_subnet *s)
{
	struct lx_subnet n = *s;

	for (size_t i = 0; i < lx_subnet_bytes(s->family); i++)
		n.addr[i] |= (uint8_t)~mask_byte(s->prefix, i);
	return n;
}

bool lx_subnet_equal(const struct lx_subnet *a, const struct lx_subnet *b)
{
	return a->family == b->family && a->prefix == b->prefix &&
	       (a->family == 0 || memcmp(a->addr, b->addr, lx_subnet_bytes(a->family)) == 0);
}

bool lx_subnet_overlaps(const struct lx_subnet *a, const struct lx_subnet *b)
{
	if (a->family != b->family || a->family == 0)
		return false;
	return same_prefix(a, b, a->prefix < b->prefix ? a->prefix : b->prefix);
}

bool lx_subnet_contains(const struct lx_subnet *outer, const struct lx_subnet *inner)
{
	return outer->prefix <= inner->prefix && lx_subnet_overlaps(outer, inner);
}

/* Ranges no bridge or guest can have an address of. */
static bool is_reserved(const struct lx_subnet *s)
{
	static const struct {
		int family;
		const char *text;
	} reserved[] = {
		{ AF_INET, "0.0.0.0/8" },   { AF_INET, "127.0.0.0/8" }, { AF_INET, "169.254.0.0/16" },
		{ AF_INET, "224.0.0.0/3" }, { AF_INET6, "::/8" },       { AF_INET6, "fe80::/10" },
		{ AF_INET6, "ff00::/8" },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(reserved); i++) {
		struct lx_subnet r;

		if (reserved[i].family == s->family &&
		    lx_subnet_parse("reserved", s->family, reserved[i].text, &r, NULL) == 0 &&
		    lx_subnet_overlaps(&r, s))
			return true;
	}
	return false;
}

int lx_subnet_check_host(const char *what, const struct lx_subnet *s, struct lx_err *err)
{
	char text[LX_SUBNET_TEXT], first[LX_SUBNET_TEXT];
	struct lx_subnet network = lx_subnet_network(s), broadcast = lx_subnet_broadcast(s);
	bool has_ends = s->prefix + 1 < lx_subnet_bits(s->family);
	size_t last = lx_subnet_bytes(s->family) - 1;
	int r;

	lx_subnet_format(s, text);
	if (is_reserved(s)) {
		r = lx_err_set(err, LX_INVALID_ARGUMENT,
			       "%s: %s is loopback, link-local, multicast or reserved", what, text);
		lx_err_hint(err, "Choose a private subnet, such as %s/%u.", example(s->family),
			    s->family == AF_INET ? 16 : 64);
		return r;
	}
	if (has_ends && lx_subnet_equal(s, &network)) {
		network.addr[last]++;
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "%s: %s is the address of the subnet itself", what,
			       text);
		lx_err_hint(err, "Give one within it: %s", lx_subnet_format(&network, first));
		return r;
	}
	if (has_ends && s->family == AF_INET && lx_subnet_equal(s, &broadcast))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: %s is the broadcast address of its subnet",
				  what, text);
	return 0;
}

char *lx_subnet_format_host(const struct lx_subnet *s, char buf[LX_SUBNET_TEXT])
{
	if (s->family == 0 || !inet_ntop(s->family, s->addr, buf, LX_SUBNET_TEXT))
		snprintf(buf, LX_SUBNET_TEXT, "none");
	return buf;
}

char *lx_subnet_format(const struct lx_subnet *s, char buf[LX_SUBNET_TEXT])
{
	lx_subnet_format_host(s, buf);
	if (s->family != 0) {
		size_t len = strlen(buf);

		snprintf(buf + len, LX_SUBNET_TEXT - len, "/%u", s->prefix);
	}
	return buf;
}

char *lx_subnet_format_network(const struct lx_subnet *s, char buf[LX_SUBNET_TEXT])
{
	struct lx_subnet n = lx_subnet_network(s);

	return lx_subnet_format(&n, buf);
}

char *lx_subnet_format_mask(const struct lx_subnet *s, char buf[LX_SUBNET_TEXT])
{
	struct lx_subnet mask = { .family = s->family, .prefix = s->prefix };

	mask = lx_subnet_broadcast(&mask); /* only host bits are set ... */
	for (size_t i = 0; i < lx_subnet_bytes(s->family); i++)
		mask.addr[i] = (uint8_t)~mask.addr[i]; /* ... and now only the others */
	return lx_subnet_format_host(&mask, buf);
}

/* The next subnet of the same size; false when it wrapped around. */
static bool step(struct lx_subnet *s)
{
	for (unsigned bit = s->prefix; bit > 0; bit--) {
		uint8_t one = (uint8_t)(0x80 >> ((bit - 1) % 8));

		s->addr[(bit - 1) / 8] ^= one;
		if (s->addr[(bit - 1) / 8] & one)
			return true;
	}
	return false;
}

bool lx_subnet_suggest(int family, unsigned prefix, const struct lx_subnet *taken, size_t n,
		       struct lx_subnet *out)
{
	/* Where to look, in this order; the first stretch of 10/8 is left to those who use it most. */
	static const char *const v4[] = { "10.88.0.0/13", "10.128.0.0/9", "172.16.0.0/12", "192.168.0.0/16",
					  "10.0.0.0/8" };
	static const char *const v6[] = { "fd42:88::/32", "fd43::/16" };
	const char *const *pools = family == AF_INET ? v4 : v6;
	size_t n_pools = family == AF_INET ? LX_ARRAY_SIZE(v4) : LX_ARRAY_SIZE(v6);
	enum { TRIES_MAX = 4096 }; /* per pool: a proposal is a courtesy, not worth a long search */

	for (size_t p = 0; p < n_pools; p++) {
		struct lx_subnet pool = { 0 }, s;

		if (lx_subnet_parse("pool", family, pools[p], &pool, NULL) < 0 || prefix < pool.prefix ||
		    prefix > lx_subnet_bits(family) - 2)
			continue;
		s = lx_subnet_network(&pool);
		s.prefix = prefix;
		for (unsigned tries = 0; tries < TRIES_MAX && lx_subnet_contains(&pool, &s); tries++) {
			size_t i = 0;

			while (i < n && !lx_subnet_overlaps(&s, &taken[i]))
				i++;
			if (i == n) {
				s.addr[lx_subnet_bytes(family) - 1] |= 1;
				*out = s;
				return true;
			}
			if (!step(&s))
				break;
		}
	}
	return false;
}
