/* The addresses of several nodes on one machine: an IPv4 subnet that nothing else here uses. */
#ifndef LX_CLI_DEV_SUBNET_H
#define LX_CLI_DEV_SUBNET_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct cli_subnet {
	uint32_t base, mask; /* host byte order */
	unsigned prefix;
};

/* "10.213.0.0/24", with room for all nodes there may be. */
int cli_subnet_parse(const char *text, struct cli_subnet *ret, struct lx_err *err);
/* The address of a node, counted from 1. */
void cli_subnet_address(const struct cli_subnet *s, unsigned number, char ret[INET_ADDRSTRLEN]);
/* Whether there is a route into it that is not through the link `own`; default routes do not count. */
bool cli_subnet_in_use(const struct cli_subnet *s, const char *own, char through[IFNAMSIZ]);
/* The first free one as text, malloc'ed. */
int cli_subnet_choose(const char *own, char **ret, struct lx_err *err);
/* The link that the default route goes through; false: there is none. */
bool cli_uplink(char ret[IFNAMSIZ]);

#endif
