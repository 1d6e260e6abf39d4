/* Subnets that are taken on this machine, and by whom. */
#ifndef LX_AGENT_NETWORK_CONFLICTS_H
#define LX_AGENT_NETWORK_CONFLICTS_H

#include <stddef.h>

#include <net/if.h>
#include <netlink/netlink.h>

#include "agent/network/config.h"
#include "lib/err.h"

struct lx_taken {
	struct lx_subnet *subnets;
	struct lx_taken_by {
		enum { LX_TAKEN_ROUTE, LX_TAKEN_ADDRESS, LX_TAKEN_NETWORK } how;
		char name[IFNAMSIZ]; /* interface or network; "" when a route has none */
	} * by;
	size_t n;
	size_t cap;
};

void lx_taken_release(struct lx_taken *t);

/*
 * Adds the routes of the main table and the addresses of all interfaces, but for default and
 * link-local routes and the interfaces `own` (bridges of ours: their subnets come from their
 * configuration).
 */
int lx_taken_collect(struct lx_taken *t, struct nl_sock *sock, const char *const *own, size_t n_own,
		     struct lx_err *err);

/* Adds a network's own subnets. */
int lx_taken_add_network(struct lx_taken *t, const struct lx_network_config *config, struct lx_err *err);

/* Refuses a network that overlaps with any of them: names it, and proposes another subnet. */
int lx_taken_check(const struct lx_taken *t, const struct lx_network_config *config, struct lx_err *err);

#endif
