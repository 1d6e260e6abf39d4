/*
 * Decodes a NetworkSpec and its leases.
 *
 * Everything that later lands in a rule, an argument or a file of dnsmasq passes here first:
 * names, addresses and domains come out in one canonical form, so that no text of a request
 * is ever copied into another program's input. Ways to fail: an unknown key (with the nearest
 * known one), a value that does not parse, a lease outside its network.
 */
#include "agent/network/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/ether.h>

#include "lib/cleanup.h"
#include "lib/qname.h"
#include "proto/pb.h"

/* Prefix lengths: room for at least the bridge and one guest. */
enum { V4_PREFIX_MIN = 8, V4_PREFIX_MAX = 30, V6_PREFIX_MIN = 32, V6_PREFIX_MAX = 126 };

static const char *const keys[] = {
	"ipv4.address", "ipv4.nat",   "ipv4.dhcp",  "ipv6.address",
	"ipv6.nat",     "dns.domain", "bridge.mtu", "security.projects.isolation"
};

/* FNV-1a, 64 bits. */
void lx_network_hwaddr(const char *network, uint8_t out[LX_HWADDR_BYTES])
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (const char *p = network; *p; p++)
		h = (h ^ (uint8_t)*p) * UINT64_C(1099511628211);
	out[0] = 0x02;
	for (int i = 1; i < LX_HWADDR_BYTES; i++, h >>= 8)
		out[i] = (uint8_t)h;
}

bool lx_hwaddr_parse(const char *text, uint8_t out[LX_HWADDR_BYTES])
{
	struct ether_addr addr;

	if (!text || strlen(text) != LX_HWADDR_TEXT - 1 || !ether_aton_r(text, &addr))
		return false;
	memcpy(out, addr.ether_addr_octet, LX_HWADDR_BYTES);
	return true;
}

char *lx_hwaddr_format(const uint8_t hwaddr[LX_HWADDR_BYTES], char out[LX_HWADDR_TEXT])
{
	snprintf(out, LX_HWADDR_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", hwaddr[0], hwaddr[1], hwaddr[2],
		 hwaddr[3], hwaddr[4], hwaddr[5]);
	return out;
}

int lx_network_name_check(const char *name, struct lx_err *err)
{
	int r = lx_name_check("network", name, err);

	if (r < 0)
		return r;
	if (strlen(name) > LX_NETWORK_NAME_MAX) {
		r = lx_err_set(err, LX_INVALID_ARGUMENT,
			       "network name \"%s\" is too long: a bridge's name has at most %d characters",
			       name, LX_NETWORK_NAME_MAX);
		lx_err_hint(err, "Choose a shorter name, such as lxbr0.");
		return r;
	}
	return 0;
}

static int check_keys(const Lxmgr__V1__NetworkSpec *spec, struct lx_err *err)
{
	if (spec->n_config > LX_NETWORK_KEYS_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "too many configuration keys (%zu, at most %d)",
				  spec->n_config, LX_NETWORK_KEYS_MAX);
	for (size_t i = 0; i < spec->n_config; i++) {
		const char *key = spec->config[i]->key, *near;
		size_t k = 0;

		while (k < LX_ARRAY_SIZE(keys) && !lx_streq(keys[k], key))
			k++;
		if (k < LX_ARRAY_SIZE(keys))
			continue;
		int r = lx_err_set(err, LX_INVALID_ARGUMENT, "unknown configuration key \"%s\"", key);

		near = lx_nearest(key, keys, LX_ARRAY_SIZE(keys));
		if (near)
			lx_err_hint(err, "Did you mean %s?", near);
		return r;
	}
	return 0;
}

static const char *get(const Lxmgr__V1__NetworkSpec *spec, const char *key)
{
	const char *v = lx_pb_map_get(spec->n_config, spec->config, key);

	return lx_str_empty(v) ? NULL : v;
}

static int get_bool(const Lxmgr__V1__NetworkSpec *spec, const char *key, bool fallback, bool *out,
		    struct lx_err *err)
{
	const char *v = get(spec, key);

	*out = fallback;
	if (v && lx_parse_bool(v, out) < 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: \"%s\" is neither true nor false", key, v);
	return 0;
}

static int get_address(const Lxmgr__V1__NetworkSpec *spec, const char *key, int family, unsigned min,
		       unsigned max, struct lx_subnet *out, struct lx_err *err)
{
	const char *v = get(spec, key);
	struct lx_subnet s = { 0 };
	int r;

	if (v && !lx_streq(v, "none")) {
		r = lx_subnet_parse(key, family, v, &s, err);
		if (r < 0)
			return r;
		if (s.prefix < min || s.prefix > max)
			return lx_err_set(err, LX_INVALID_ARGUMENT,
					  "%s: \"%s\" has a prefix length outside %u to %u", key, v, min,
					  max);
		r = lx_subnet_check_host(key, &s, err);
		if (r < 0)
			return r;
	}
	*out = s;
	return 0;
}

static int get_mtu(const Lxmgr__V1__NetworkSpec *spec, bool has_v6, uint32_t *out, struct lx_err *err)
{
	const char *v = get(spec, "bridge.mtu");
	uint64_t min = has_v6 ? LX_MTU_MIN_V6 : LX_MTU_MIN, mtu = 0;

	if (v && (lx_parse_u64(v, &mtu) < 0 || mtu < min || mtu > LX_MTU_MAX))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "bridge.mtu: \"%s\" is not a number from %d to %d%s", v, (int)min,
				  LX_MTU_MAX, has_v6 ? " (IPv6 needs at least 1280)" : "");
	*out = (uint32_t)mtu;
	return 0;
}

/* Labels of letters, digits and inner hyphens, joined by dots; comes out in lower case. */
static int get_domain(const Lxmgr__V1__NetworkSpec *spec, char out[LX_DOMAIN_MAX + 1], struct lx_err *err)
{
	const char *v = get(spec, "dns.domain");
	size_t label = 0, i;

	if (!v)
		v = "lxmgr";
	for (i = 0; v[i] && i < LX_DOMAIN_MAX; i++) {
		char c = v[i] >= 'A' && v[i] <= 'Z' ? (char)(v[i] - 'A' + 'a') : v[i];
		bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		bool end = v[i + 1] == '.' || v[i + 1] == '\0';

		if (c == '.' ? label == 0 || end : !alnum && (c != '-' || label == 0 || end))
			break;
		label = c == '.' ? 0 : label + 1;
		if (label > LX_NAME_MAX)
			break;
		out[i] = c;
	}
	if (v[i]) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT, "dns.domain: \"%.*s\" is not a domain name",
				   LX_DOMAIN_MAX, v);

		lx_err_hint(err, "Use labels of a-z, 0-9 and inner hyphens joined by dots, such as lxmgr or "
				 "lab.example.org.");
		return r;
	}
	out[i] = '\0';
	return 0;
}

static int parse_address(const char *what, int family, const struct lx_subnet *network, const char *text,
			 struct lx_subnet *out, struct lx_err *err);

static int get_overlay(const Lxmgr__V1__NetworkSpec *spec, struct lx_network_config *c, struct lx_err *err)
{
	int r;

	if (spec->vxlan_id > LX_VXLAN_ID_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "VXLAN id %u is larger than %u", spec->vxlan_id,
				  LX_VXLAN_ID_MAX);
	c->vxlan_id = spec->vxlan_id;
	r = parse_address("the node's IPv4 address", AF_INET, &c->v4, spec->host_ipv4, &c->host4, err);
	if (r == 0)
		r = parse_address("the node's IPv6 address", AF_INET6, &c->v6, spec->host_ipv6, &c->host6,
				  err);
	return r;
}

int lx_network_config_parse(const Lxmgr__V1__NetworkSpec *spec, struct lx_network_config *out,
			    struct lx_err *err)
{
	struct lx_network_config c = { 0 };
	int r = lx_network_name_check(spec->name, err);

	if (r < 0)
		return r;
	snprintf(c.name, sizeof(c.name), "%s", spec->name);
	if ((r = check_keys(spec, err)) < 0 ||
	    (r = get_address(spec, "ipv4.address", AF_INET, V4_PREFIX_MIN, V4_PREFIX_MAX, &c.v4, err)) < 0 ||
	    (r = get_address(spec, "ipv6.address", AF_INET6, V6_PREFIX_MIN, V6_PREFIX_MAX, &c.v6, err)) < 0 ||
	    (r = get_bool(spec, "ipv4.nat", true, &c.v4_nat, err)) < 0 ||
	    (r = get_bool(spec, "ipv4.dhcp", true, &c.v4_dhcp, err)) < 0 ||
	    (r = get_bool(spec, "ipv6.nat", true, &c.v6_nat, err)) < 0 ||
	    (r = get_bool(spec, "security.projects.isolation", true, &c.isolation, err)) < 0 ||
	    (r = get_mtu(spec, c.v6.family != 0, &c.mtu, err)) < 0 ||
	    (r = get_domain(spec, c.domain, err)) < 0 || (r = get_overlay(spec, &c, err)) < 0)
		return r;
	*out = c;
	return 0;
}

bool lx_network_config_equal(const struct lx_network_config *a, const struct lx_network_config *b)
{
	return lx_streq(a->name, b->name) && lx_subnet_equal(&a->v4, &b->v4) &&
	       lx_subnet_equal(&a->v6, &b->v6) && a->v4_nat == b->v4_nat && a->v4_dhcp == b->v4_dhcp &&
	       a->v6_nat == b->v6_nat && a->isolation == b->isolation && a->mtu == b->mtu &&
	       a->vxlan_id == b->vxlan_id && lx_subnet_equal(&a->host4, &b->host4) &&
	       lx_subnet_equal(&a->host6, &b->host6) && lx_streq(a->domain, b->domain);
}

/* ------------------------------------------------------------------ leases */

static int parse_hwaddr(const char *text, char out[LX_HWADDR_TEXT], struct lx_err *err)
{
	size_t i = 0;

	for (; text && text[i] && i < LX_HWADDR_TEXT - 1; i++) {
		if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
			break;
		out[i] = (char)tolower((unsigned char)text[i]);
	}
	out[i] = '\0';
	/* An odd first byte is a multicast address. */
	if (i < LX_HWADDR_TEXT - 1 || text[i] || strchr("13579bdf", out[1]))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "\"%s\" is not the hardware address of an interface", text ? text : "");
	return 0;
}

static int parse_address(const char *what, int family, const struct lx_subnet *network, const char *text,
			 struct lx_subnet *out, struct lx_err *err)
{
	char t[LX_SUBNET_TEXT], n[LX_SUBNET_TEXT];
	struct lx_subnet s, in_network;
	int r;

	if (lx_str_empty(text)) {
		*out = (struct lx_subnet){ 0 };
		return 0;
	}
	r = lx_subnet_parse_host(what, family, text, &s, err);
	if (r < 0)
		return r;
	if (network->family == 0 || !lx_subnet_contains(network, &s))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: %s is outside the network's %s", what,
				  lx_subnet_format_host(&s, t), lx_subnet_format_network(network, n));
	in_network = s;
	in_network.prefix = network->prefix;
	r = lx_subnet_check_host(what, &in_network, err);
	if (r < 0)
		return r;
	if (lx_subnet_equal(&in_network, network))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: %s is the bridge's own address", what,
				  lx_subnet_format_host(&s, t));
	*out = s;
	return 0;
}

static int check_not_host(const struct lx_network_config *network, const struct lx_lease *l,
			  struct lx_err *err)
{
	char text[LX_SUBNET_TEXT];

	if (l->v4.family != 0 && lx_subnet_equal(&l->v4, &network->host4))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "ipv4: %s is this machine's own address",
				  lx_subnet_format_host(&l->v4, text));
	if (l->v6.family != 0 && lx_subnet_equal(&l->v6, &network->host6))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "ipv6: %s is this machine's own address",
				  lx_subnet_format_host(&l->v6, text));
	return 0;
}

/* "web1", or "web1.shop" below the domain: a name in a part of it that is a project's. */
static int lease_name(const struct lx_network_config *network, const Lxmgr__V1__LeaseSpec *spec,
		      char out[LX_LEASE_NAME_MAX + 1], struct lx_err *err)
{
	const char *name = lx_str_empty(spec->name) ? lx_qname_leaf(spec->instance) : spec->name;
	const char *dot = strchr(name, '.');
	char first[LX_NAME_MAX + 1];
	int r;

	snprintf(first, sizeof(first), "%.*s", (int)(dot ? dot - name : LX_NAME_MAX), name);
	r = lx_name_check("host", first, err);
	if (r == 0 && dot)
		r = lx_name_check("host", dot + 1, err);
	if (r == 0)
		snprintf(out, LX_LEASE_NAME_MAX + 1, dot ? "%s.%s" : "%s", name, network->domain);
	return r;
}

int lx_lease_parse(const struct lx_network_config *network, const Lxmgr__V1__LeaseSpec *spec,
		   struct lx_lease *out, struct lx_err *err)
{
	struct lx_lease l = { 0 };
	int r = lx_qname_check("instance", spec->instance, err);

	if (r < 0)
		return r;
	snprintf(l.instance, sizeof(l.instance), "%s", spec->instance);
	if ((r = lease_name(network, spec, l.name, err)) < 0 ||
	    (r = parse_hwaddr(spec->hwaddr, l.hwaddr, err)) < 0 ||
	    (r = parse_address("ipv4", AF_INET, &network->v4, spec->ipv4, &l.v4, err)) < 0 ||
	    (r = parse_address("ipv6", AF_INET6, &network->v6, spec->ipv6, &l.v6, err)) < 0 ||
	    (r = check_not_host(network, &l, err)) < 0) {
		lx_err_wrap(err, "lease of %s", l.instance);
		return r;
	}
	*out = l;
	return 0;
}
