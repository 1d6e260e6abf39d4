/*
 * A network's leases as dnsmasq reads them: two small files for each, in directories it
 * watches. A new lease is known to it at once; after a removed or changed one it has to read
 * them again (`reload`).
 */
#ifndef LX_AGENT_NETWORK_LEASES_H
#define LX_AGENT_NETWORK_LEASES_H

#include <stdbool.h>

#include "agent/network/config.h"
#include "lib/map.h"

struct lx_leases {
	char *dir;           /* the network's run directory */
	struct lx_map files; /* path below it -> content (malloc'ed) */
};

/* Makes the directories and takes in what an earlier agent left there. */
int lx_leases_open(struct lx_leases *l, const char *dir, struct lx_err *err);
/* Frees; the files stay. */
void lx_leases_close(struct lx_leases *l);

/*
 * Makes the files what the leases say, touching only those that differ. A lease that is wrong
 * or collides with one before it is left out: the first such error is in *bad, the others
 * count all the same. *reload is set when dnsmasq has to read them again. Fails when a file
 * cannot be written.
 */
int lx_leases_sync(struct lx_leases *l, const struct lx_network_config *config,
		   const Lxmgr__V1__NetworkSpec *spec, uint32_t mtu, bool *reload, struct lx_err *bad,
		   struct lx_err *err);

#endif
