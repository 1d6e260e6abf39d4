/* dnsmasq's command line. */
#ifndef LX_AGENT_NETWORK_DNSMASQ_ARGS_H
#define LX_AGENT_NETWORK_DNSMASQ_ARGS_H

#include "agent/network/config.h"

/*
 * A NULL-terminated vector, malloc'ed; NULL when out of memory. `dir` is the network's run
 * directory. `ifindex` is the bridge's: dnsmasq binds to that very interface, so one that was
 * started for an earlier bridge of the same name must not look as if it would do.
 */
char **lx_dnsmasq_args(const struct lx_network_config *config, unsigned ifindex, const char *dir,
		       const char *user);
void lx_dnsmasq_args_free(char **args);

#endif
