/* Reading and comparing the addresses of proxy devices, see the header. */
#include "profiles/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/host_device.h"

#define MODE_DEFAULT 0660
#define PORT_MAX     65535
/* An IPv6 address in brackets, and a little more. */
#define HOST_MAX 64

/* ------------------------------------------------------------------ one address */

/* Digits alone: what else numbers may begin with is not for ports. */
static const char *read_number(const char *p, const char *end, uint32_t *ret)
{
	uint32_t n = 0;

	if (p == end || end - p > 5)
		return "has no port that can be";
	for (; p < end; p++) {
		if (*p < '0' || *p > '9')
			return "has no port that can be";
		n = n * 10 + (uint32_t)(*p - '0');
	}
	if (n == 0 || n > PORT_MAX)
		return "has no port that can be";
	*ret = n;
	return NULL;
}

static const char *read_ports(const char *text, struct lx_proxy_address *a)
{
	const char *end = text + strlen(text), *dash = strchr(text, '-');
	uint32_t first, last;
	const char *fault = read_number(text, dash ? dash : end, &first);

	last = first;
	if (!fault && dash)
		fault = read_number(dash + 1, end, &last);
	if (fault)
		return fault;
	if (last < first)
		return "has a range of ports that ends before it begins";
	if (last - first >= LX_PROXY_PORTS_MAX)
		return "has too many ports";
	a->port = (uint16_t)first;
	a->n_ports = (uint16_t)(last - first + 1);
	return NULL;
}

static const char *read_inet(const char *text, struct lx_proxy_address *a)
{
	const char *colon = strrchr(text, ':');
	char host[HOST_MAX];

	if (!colon)
		return "has no port";
	size_t n = (size_t)(colon - text);

	if (n >= sizeof(host))
		return "has an address that is none";
	memcpy(host, text, n);
	host[n] = '\0';
	a->v6 = n > 2 && host[0] == '[' && host[n - 1] == ']';
	if (a->v6)
		host[n - 1] = '\0';
	if (inet_pton(a->v6 ? AF_INET6 : AF_INET, a->v6 ? host + 1 : host,
		      a->v6 ? (void *)&a->ipv6 : (void *)&a->ipv4) != 1)
		return "has an address that is none (names are not looked up; IPv6 stands in brackets)";
	return read_ports(colon + 1, a);
}

static const char *read_unix(const char *text, struct lx_proxy_address *a)
{
	const char *fault = text[0] == '@' ? NULL : lx_device_path_fault(text);

	if (fault)
		return fault;
	if (!text[1])
		return text[0] == '@' ? "has no name" : "is a directory";
	if (strlen(text) > LX_PROXY_PATH_MAX)
		return "is too long for a socket";
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return "has a control character";
	a->n_ports = 1;
	a->path = text;
	return NULL;
}

const char *lx_proxy_address_read(const char *text, struct lx_proxy_address *ret)
{
	static const struct {
		const char *prefix;
		enum lx_proxy_kind kind;
	} kinds[] = { { "tcp:", LX_PROXY_TCP }, { "udp:", LX_PROXY_UDP }, { "unix:", LX_PROXY_UNIX } };

	for (size_t i = 0; i < LX_ARRAY_SIZE(kinds); i++) {
		struct lx_proxy_address a = { .kind = kinds[i].kind };

		if (!lx_starts_with(text, kinds[i].prefix))
			continue;
		text += strlen(kinds[i].prefix);
		const char *fault = a.kind == LX_PROXY_UNIX ? read_unix(text, &a) : read_inet(text, &a);

		if (!fault)
			*ret = a;
		return fault;
	}
	return "is neither tcp:, udp: nor unix:";
}

/* ------------------------------------------------------------------ a device */

static bool has(const struct lx_map *options, const char *key)
{
	return !lx_str_empty(lx_map_get(options, key));
}

static uint32_t number(const struct lx_map *options, const char *key, int base, uint32_t fallback)
{
	return has(options, key) ? (uint32_t)strtoul(lx_map_get(options, key), NULL, base) : fallback;
}

int lx_proxy_read(const struct lx_map *options, struct lx_proxy *ret)
{
	struct lx_proxy p = { 0 };

	if (!lx_streq(lx_map_get(options, "type"), LX_PROXY_TYPE) || !has(options, "listen") ||
	    !has(options, "connect") || lx_proxy_address_read(lx_map_get(options, "listen"), &p.listen) ||
	    lx_proxy_address_read(lx_map_get(options, "connect"), &p.connect))
		return 0;
	p.in_guest = lx_streq(lx_map_get(options, "bind"), "instance");
	p.mode = number(options, "mode", 8, MODE_DEFAULT);
	p.uid = number(options, "uid", 10, 0);
	p.gid = number(options, "gid", 10, 0);
	*ret = p;
	return 1;
}

static int refuse(const char *name, const char *hint, struct lx_err *err, const char *fault)
{
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: %s", name, fault);

	lx_err_hint(err, "%s", hint);
	return r;
}

int lx_proxy_check(const char *name, const struct lx_map *options, struct lx_err *err)
{
	struct lx_proxy p;

	if (lx_proxy_read(options, &p) != 1)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: it is no whole proxy", name);
	if ((p.listen.kind == LX_PROXY_UDP) != (p.connect.kind == LX_PROXY_UDP))
		return refuse(
			name, "Use udp: for both, or tcp: and unix: as you like.", err,
			"datagrams (udp) and connections (tcp, unix) cannot be passed on to each other");
	if (p.connect.n_ports != 1 && p.connect.n_ports != p.listen.n_ports)
		return refuse(name, "Connect to one port, or to as many as it listens on.", err,
			      "the ranges of ports of listen and connect have different lengths");
	if (p.listen.kind == LX_PROXY_UNIX && p.listen.path[0] == '/')
		return 0;
	if (has(options, "mode") || has(options, "uid") || has(options, "gid"))
		return refuse(name, "Leave mode, uid and gid away.", err,
			      "only a socket in a file system (listen=unix:/PATH) has an owner and a mode");
	return 0;
}

/* ------------------------------------------------------------------ several */

static bool is_any(const struct lx_proxy_address *a)
{
	return a->v6 ? IN6_IS_ADDR_UNSPECIFIED(&a->ipv6) : a->ipv4.s_addr == htonl(INADDR_ANY);
}

static bool is_same_place(const struct lx_proxy_address *a, const struct lx_proxy_address *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == LX_PROXY_UNIX)
		return strcmp(a->path, b->path) == 0;
	if (a->v6 != b->v6 || a->port >= b->port + b->n_ports || b->port >= a->port + a->n_ports)
		return false;
	return is_any(a) || is_any(b) ||
	       (a->v6 ? IN6_ARE_ADDR_EQUAL(&a->ipv6, &b->ipv6) : a->ipv4.s_addr == b->ipv4.s_addr);
}

int lx_proxies_check(const struct lx_map *devices, struct lx_err *err)
{
	struct lx_proxy p, q;

	for (struct lx_map_entry *a = lx_map_first(devices); a; a = lx_map_next(a)) {
		if (lx_proxy_read(lx_map_value(a), &p) != 1)
			continue;
		for (struct lx_map_entry *b = lx_map_next(a); b; b = lx_map_next(b)) {
			if (lx_proxy_read(lx_map_value(b), &q) != 1 || p.in_guest != q.in_guest ||
			    !is_same_place(&p.listen, &q.listen))
				continue;
			int r = lx_err_set(err, LX_INVALID_ARGUMENT,
					   "devices %s and %s would listen at the same place", lx_map_key(a),
					   lx_map_key(b));

			lx_err_hint(err, "Give one of them another port or path.");
			return r;
		}
	}
	return 0;
}
