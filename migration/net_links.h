/* The links of a network namespace, as they stand, and which of the instance's cards they are. */
#ifndef LX_MIGRATION_NET_LINKS_H
#define LX_MIGRATION_NET_LINKS_H

#include <stdbool.h>

#include <netlink/netlink.h>

#include "lib/err.h"
#include "lxmgr/v1/agent.pb-c.h"
#include "lxmgr/v1/migration.pb-c.h"

/*
 * Calls `fn` for each link inside. `nic` is the card it is the guest end of, NULL when it is none;
 * both are borrowed. Kind "loopback" is lo, "" is hardware.
 */
typedef int (*lx_net_link_fn)(void *arg, const Lxmgr__V1__GuestLink *link, const Lxmgr__V1__Nic *nic,
			      struct lx_err *err);
int lx_net_links(struct nl_sock *inside, size_t n_nics, Lxmgr__V1__Nic *const *nics, lx_net_link_fn fn,
		 void *arg, struct lx_err *err);

/* Whether it can be made anew: lo, and the guest ends of cards. */
bool lx_net_link_carried(const Lxmgr__V1__GuestLink *link, const Lxmgr__V1__Nic *nic);

#endif
