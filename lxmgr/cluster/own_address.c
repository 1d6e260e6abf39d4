/*
 * The machine's addresses, for join tokens. IPv4 comes first: an agent tries them in turn, and
 * each that leads nowhere costs it a time-out. Left out are loopback, link-local addresses, which
 * mean nothing without an interface, and the gateways of our own networks, which every node has.
 */
#include "lxmgr/cluster/own_address.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/str.h"
#include "rpc/address.h"

/* An agent reads no more than 16. */
#define ADDRESSES_MAX 8

/* Routes between nodes' own processes and instances (agent/network/hostlink.h). */
#define HOSTLINK_PREFIX "lxh"

static bool means_all(const char *host)
{
	return lx_streq(host, "0.0.0.0") || lx_streq(host, "::");
}

static bool is_of_use(const struct lx_manager *m, const uv_interface_address_t *a)
{
	if (a->is_internal || lx_map_has(&m->networks, a->name) || lx_starts_with(a->name, HOSTLINK_PREFIX))
		return false;
	return a->address.address4.sin_family != AF_INET6 ||
	       !IN6_IS_ADDR_LINKLOCAL(&a->address.address6.sin6_addr);
}

/* Appends those of one family. */
static int add(const struct lx_manager *m, const uv_interface_address_t *all, int n, sa_family_t family,
	       const char *port, struct lx_buf *out)
{
	unsigned found = 0;
	int r = 0;

	for (int i = 0; i < n && r == 0 && found < ADDRESSES_MAX; i++) {
		char text[INET6_ADDRSTRLEN] = "";
		bool v6 = family == AF_INET6;

		if (all[i].address.address4.sin_family != family || !is_of_use(m, &all[i]))
			continue;
		if ((v6 ? uv_ip6_name(&all[i].address.address6, text, sizeof(text))
			: uv_ip4_name(&all[i].address.address4, text, sizeof(text))) != 0)
			continue;
		r = lx_buf_printf(out, "%s\"%s%s%s:%s\"", out->len > 1 ? "," : "", v6 ? "[" : "", text,
				  v6 ? "]" : "", port);
		found++;
	}
	return r;
}

char *lx_own_addresses(const struct lx_manager *m)
{
	lx_autobuf struct lx_buf out = { 0 };
	struct lx_address said;
	uv_interface_address_t *all = NULL;
	int n = 0, r = lx_buf_printf(&out, "[");

	if (r == 0 && lx_address_parse(m->address, &said, NULL) == 0 && means_all(said.host) &&
	    uv_interface_addresses(&all, &n) == 0) {
		r = add(m, all, n, AF_INET, said.service, &out);
		/* Bound to IPv4's "all" it hears nothing else. */
		if (r == 0 && lx_streq(said.host, "::"))
			r = add(m, all, n, AF_INET6, said.service, &out);
		uv_free_interface_addresses(all, n);
	}
	/* Of a machine without an address an agent at least hears what is wrong. */
	if (r == 0 && out.len == 1)
		r = lx_buf_printf(&out, "\"%s\"", m->address);
	if (r == 0)
		r = lx_buf_printf(&out, "]");
	return r == 0 ? strdup(lx_buf_str(&out)) : NULL;
}
