/*
 * What a network may be. Its address is the bridge's own, and a node routes the whole subnet
 * to that bridge: so it must be one that a machine can have, and no two networks may share
 * any of it.
 */
#include "lxmgr/api/networks.h"

#include <arpa/inet.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "proto/pb.h"

#define MAX_DESCRIPTION 1024u
#define MAX_LABEL       63u
#define MAX_DOMAIN      253u
#define IFNAME_LEN_MAX  15u

static const char *const key_names[] = { "ipv4.address", "ipv4.nat",
					 "ipv4.dhcp",    "ipv6.address",
					 "ipv6.nat",     "dns.domain",
					 "bridge.mtu",   "security.projects.isolation" };

/* ------------------------------------------------------------------ addresses */

/* An address family and what a bridge may have of it. */
static const struct family {
	const char *key;
	int af;
	unsigned bytes, min_len, max_len;
	const char *hint;
} families[] = {
	{ "ipv4.address", AF_INET, 4, 8, 30,
	  "Give the bridge's address with a prefix length of 8 to 30, like 10.88.0.1/16, or none." },
	{ "ipv6.address", AF_INET6, 16, 32, 112,
	  "Give the bridge's address with a prefix length of 32 to 112, like fd42:1:2:3::1/64, or none." },
};

struct subnet {
	unsigned char addr[16];
	unsigned len;
};

static bool parse(const struct family *f, const char *text, struct subnet *ret)
{
	char host[INET6_ADDRSTRLEN];
	uint64_t len;
	const char *slash = strchr(text, '/');
	if (!slash || (size_t)(slash - text) >= sizeof(host))
		return false;
	memcpy(host, text, (size_t)(slash - text));
	host[slash - text] = '\0';
	if (inet_pton(f->af, host, ret->addr) != 1 || lx_parse_u64(slash + 1, &len) < 0 || len < f->min_len ||
	    len > f->max_len)
		return false;
	ret->len = (unsigned)len;
	return true;
}

static bool bit(const struct subnet *s, unsigned i)
{
	return s->addr[i / 8] >> (7 - i % 8) & 1;
}

static bool share_prefix(const struct subnet *a, const struct subnet *b, unsigned len)
{
	unsigned i = 0;
	while (i < len && bit(a, i) == bit(b, i))
		i++;
	return i == len;
}

/* All the bits behind the prefix are `on`: the subnet's own address, or its broadcast address. */
static bool host_bits_are(const struct family *f, const struct subnet *s, bool on)
{
	unsigned i = s->len;
	while (i < f->bytes * 8 && bit(s, i) == on)
		i++;
	return i == f->bytes * 8;
}

/* Nobody's, loopback, multicast or link-local. */
static bool is_special(const struct family *f, const struct subnet *s)
{
	const unsigned char *a = s->addr;
	static const unsigned char zero[15];
	if (f->af == AF_INET)
		return a[0] == 0 || a[0] == 127 || a[0] >= 224 || (a[0] == 169 && a[1] == 254);
	return memcmp(a, zero, sizeof(zero)) == 0 || a[0] == 0xff || (a[0] == 0xfe && (a[1] & 0xc0) == 0x80);
}

static const char *address_fault(const struct family *f, const char *value, struct subnet *s)
{
	if (!parse(f, value, s))
		return "is not an address with a prefix length";
	if (is_special(f, s))
		return "cannot be a bridge's address";
	if (host_bits_are(f, s, false))
		return "is the subnet's own address, not one in it";
	if (f->af == AF_INET && host_bits_are(f, s, true))
		return "is the subnet's broadcast address";
	return NULL;
}

static bool is_same(const Lxmgr__V1__Network *a, const Lxmgr__V1__Network *b)
{
	return lx_streq(a->bridge, b->bridge);
}

/* Another network with a part of the subnet, or NULL. One that is being made has no bridge yet. */
static const Lxmgr__V1__Network *overlaps(struct lx_manager *m, const Lxmgr__V1__Network *n,
					  const struct family *f, const struct subnet *s)
{
	for (struct lx_map_entry *e = lx_map_first(&m->networks); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Network *other = lx_map_value(e);
		const char *text = lx_pb_map_get(other->n_config, other->config, f->key);
		struct subnet o;
		if (!is_same(other, n) && text && parse(f, text, &o) &&
		    share_prefix(s, &o, s->len < o.len ? s->len : o.len))
			return other;
	}
	return NULL;
}

static int check_addresses(struct lx_manager *m, const Lxmgr__V1__Network *n, struct lx_err *err)
{
	unsigned given = 0;
	int r;

	for (size_t i = 0; i < LX_ARRAY_SIZE(families); i++) {
		const struct family *f = &families[i];
		const char *value = lx_pb_map_get(n->n_config, n->config, f->key);
		struct subnet s;
		if (!value || lx_streq(value, "none"))
			continue;
		given++;
		const char *fault = address_fault(f, value, &s);
		if (fault) {
			r = lx_err_set(err, LX_INVALID_ARGUMENT, "network %s: %s \"%s\" %s", n->name, f->key,
				       value, fault);
			lx_err_hint(err, "%s", f->hint);
			return r;
		}
		const Lxmgr__V1__Network *other = overlaps(m, n, f, &s);
		if (other) {
			r = lx_err_set(err, LX_INVALID_ARGUMENT, "network %s: %s %s overlaps with network %s",
				       n->name, f->key, value, other->name);
			lx_err_hint(err, "Give it a subnet of its own. lxmgr network list shows those that "
					 "are taken.");
			return r;
		}
	}
	if (given)
		return 0;
	r = lx_err_set(err, LX_INVALID_ARGUMENT, "network %s needs an ipv4.address or an ipv6.address",
		       n->name);
	lx_err_hint(err, "For example: lxmgr network create %s ipv4.address=10.99.0.1/24 ipv4.nat=true",
		    n->name);
	return r;
}

/* ------------------------------------------------------------------ other keys */

/* Labels of a-z, 0-9 and "-" between dots. */
static bool is_domain(const char *s)
{
	if (strlen(s) > MAX_DOMAIN)
		return false;
	for (;;) {
		size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");
		if (!n || n > MAX_LABEL || s[0] == '-' || s[n - 1] == '-')
			return false;
		if (!s[n])
			return true;
		if (s[n] != '.')
			return false;
		s += n + 1;
	}
}

static const char *value_fault(const char *key, const char *value)
{
	uint64_t v;
	bool b;

	if (lx_streq(key, "bridge.mtu"))
		return lx_str_empty(value) || (lx_parse_u64(value, &v) == 0 && v >= 1280 && v <= 65535)
			       ? NULL
			       : "is not a number from 1280 to 65535";
	if (lx_streq(key, "dns.domain"))
		return is_domain(value) ? NULL : "is not a domain name";
	return lx_parse_bool(value, &b) == 0 ? NULL : "is neither true nor false";
}

static int check_key(const char *network, const char *key, const char *value, struct lx_err *err)
{
	bool known = false;

	for (size_t i = 0; i < LX_ARRAY_SIZE(key_names); i++)
		known |= lx_streq(key, key_names[i]);
	if (!known) {
		const char *near = lx_nearest(key, key_names, LX_ARRAY_SIZE(key_names));
		int r = lx_err_set(err, LX_INVALID_ARGUMENT, "network %s: there is no key %s", network, key);
		lx_err_hint(err,
			    "%s%s%sKeys: ipv4.address, ipv4.nat, ipv4.dhcp, ipv6.address, ipv6.nat, "
			    "dns.domain, bridge.mtu, security.projects.isolation.",
			    near ? "Did you mean " : "", near ? near : "", near ? "? " : "");
		return r;
	}
	for (size_t i = 0; i < LX_ARRAY_SIZE(families); i++)
		if (lx_streq(key, families[i].key))
			return 0; /* together with the others (check_addresses) */
	const char *fault = value_fault(key, value);
	return fault ? lx_err_set(err, LX_INVALID_ARGUMENT, "network %s: %s \"%s\" %s", network, key, value,
				  fault)
		     : 0;
}

int lx_api_check_network_name(const char *name, struct lx_err *err)
{
	int r = lx_name_check("network", name, err);

	if (r < 0)
		return r;
	if (lx_starts_with(name, LX_BRIDGE_PREFIX) &&
	    strspn(name + strlen(LX_BRIDGE_PREFIX), "0123456789") == strlen(name + strlen(LX_BRIDGE_PREFIX)))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "network name %s is one that bridges of projects have", name);
	if (strlen(name) > IFNAME_LEN_MAX) {
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "network name %s is longer than %u bytes", name,
			       IFNAME_LEN_MAX);
		lx_err_hint(err, "It names the bridge interface, and the kernel allows no more.");
	}
	return r;
}

int lx_api_check_network(struct lx_manager *m, const Lxmgr__V1__Network *n, struct lx_err *err)
{
	int r = lx_api_check_network_name(n->name, err);

	if (r < 0)
		return r;
	if (strlen(n->description) > MAX_DESCRIPTION)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the description of network %s is too long",
				  n->name);
	for (size_t i = 0; i < n->n_config; i++) {
		const char *key = n->config[i]->key, *value = n->config[i]->value;
		if (lx_pb_map_get(n->n_config, n->config, key) != value)
			return lx_err_set(err, LX_INVALID_ARGUMENT, "network %s: %s is given twice", n->name,
					  key);
		if ((r = check_key(n->name, key, value, err)) < 0)
			return r;
	}
	return check_addresses(m, n, err);
}
