/*
 * Reads the main routing table from /proc/net/route, where addresses and masks are hexadecimal
 * in network byte order. A table that cannot be read counts as an empty one: what really is
 * in the way then fails when the addresses are given.
 */
#include "cli/dev_subnet.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"

#define ROUTES       "/proc/net/route"
#define PREFIX_MIN   16
#define PREFIX_MAX   26          /* room for CLI_DEV_NODES_MAX nodes */
#define CHOICE_FIRST 0x0ad50000u /* 10.213.0.0: of the 256 /24 from there the first free one is taken */
#define CHOICES      256
#define HEX          16

/* ------------------------------------------------------------------ pure */

int cli_subnet_parse(const char *text, struct cli_subnet *ret, struct lx_err *err)
{
	const char *slash = strchr(text, '/');
	char address[INET_ADDRSTRLEN] = "";
	struct in_addr in;
	uint64_t prefix;

	if (slash && (size_t)(slash - text) < sizeof(address))
		memcpy(address, text, (size_t)(slash - text));
	if (!slash || inet_pton(AF_INET, address, &in) != 1 || lx_parse_u64(slash + 1, &prefix) < 0 ||
	    prefix < PREFIX_MIN || prefix > PREFIX_MAX) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT, "\"%s\" is not a subnet for the nodes", text);
		lx_err_hint(err, "An IPv4 subnet of %d to %d bits: --underlay 10.213.0.0/24", PREFIX_MIN,
			    PREFIX_MAX);
		return r;
	}
	ret->prefix = (unsigned)prefix;
	ret->mask = ~0u << (32 - ret->prefix);
	ret->base = ntohl(in.s_addr) & ret->mask;
	return 0;
}

void cli_subnet_address(const struct cli_subnet *s, unsigned number, char ret[INET_ADDRSTRLEN])
{
	const struct in_addr in = { htonl(s->base + number) };

	inet_ntop(AF_INET, &in, ret, INET_ADDRSTRLEN);
}

/* ------------------------------------------------------------------ routes */

struct route {
	char link[IFNAMSIZ];
	uint32_t to, mask; /* host byte order */
};

enum { COL_LINK, COL_TO, COL_MASK = 7 };

/* False for the heading, and for what does not look like a route. */
static bool parse_route(char *line, struct route *ret)
{
	const char *column[COL_MASK + 1];

	for (size_t i = 0; i < LX_ARRAY_SIZE(column); i++) {
		column[i] = strsep(&line, "\t");
		if (!column[i])
			return false;
	}
	if (strlen(column[COL_LINK]) >= sizeof(ret->link) || lx_streq(column[COL_LINK], "Iface"))
		return false;
	snprintf(ret->link, sizeof(ret->link), "%s", column[COL_LINK]);
	ret->to = ntohl((uint32_t)strtoul(column[COL_TO], NULL, HEX));
	ret->mask = ntohl((uint32_t)strtoul(column[COL_MASK], NULL, HEX));
	return true;
}

bool cli_subnet_in_use(const struct cli_subnet *s, const char *own, char through[IFNAMSIZ])
{
	lx_autofclose FILE *routes = fopen(ROUTES, "re");
	lx_autofree char *line = NULL;
	struct route route;
	size_t size = 0;

	while (routes && getline(&line, &size, routes) > 0) {
		if (!parse_route(line, &route) || !route.mask || lx_streq(route.link, own))
			continue;
		if ((route.to & route.mask & s->mask) == (s->base & route.mask & s->mask)) {
			snprintf(through, IFNAMSIZ, "%s", route.link);
			return true;
		}
	}
	return false;
}

int cli_subnet_choose(const char *own, char **ret, struct lx_err *err)
{
	char through[IFNAMSIZ];

	for (uint32_t i = 0; i < CHOICES; i++) {
		const struct cli_subnet s = { CHOICE_FIRST + (i << 8), 0xffffff00u, 24 };
		if (cli_subnet_in_use(&s, own, through))
			continue;
		*ret = lx_asprintf("10.213.%u.0/24", i);
		return *ret ? 0 : lx_err_oom(err);
	}
	int r = lx_err_set(err, LX_RESOURCE_EXHAUSTED, "no subnet of 10.213.0.0/16 is free for the nodes");
	lx_err_hint(err, "Give one that is: --underlay CIDR");
	return r;
}

bool cli_uplink(char ret[IFNAMSIZ])
{
	lx_autofclose FILE *routes = fopen(ROUTES, "re");
	lx_autofree char *line = NULL;
	struct route route;
	size_t size = 0;

	while (routes && getline(&line, &size, routes) > 0)
		if (parse_route(line, &route) && !route.mask && !route.to) {
			snprintf(ret, IFNAMSIZ, "%s", route.link);
			return true;
		}
	return false;
}
