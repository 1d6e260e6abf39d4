/* The knobs of a network namespace: /proc/sys/net as a task inside sees it. */
#ifndef LX_MIGRATION_NET_SYSCTL_H
#define LX_MIGRATION_NET_SYSCTL_H

#include <stdbool.h>

#include "lib/err.h"
#include "lxmgr/v1/migration.pb-c.h"

/* Everything that can be both read and written, into out->sysctls (which it replaces). */
int lx_net_sysctl_save(int netns, Lxmgr__V1__GuestNetwork *out, struct lx_err *err);

/* When a knob can be set: some act on others, some exist only with their interface. */
enum lx_sysctl_turn {
	LX_SYSCTL_SPREADS,   /* ip_forward, conf/all/forwarding ...: the kernel copies it to others */
	LX_SYSCTL_NAMESPACE, /* everything that belongs to no interface, and "all" */
	LX_SYSCTL_DEFAULT,   /* what new interfaces begin with */
	LX_SYSCTL_LINK,      /* one interface's own */
	LX_SYSCTL_NEVER,     /* not a name below /proc/sys/net, or set otherwise */
};
/* Pure. `ret_link`: for LX_SYSCTL_LINK the interface, not NUL-terminated, with its length. */
enum lx_sysctl_turn lx_net_sysctl_turn(const char *name, const char **ret_link, size_t *ret_len);

/*
 * Drops from `net` what a new namespace has anyway, as `fresh` tells (lx_net_sysctl_save() of one).
 * An interface's own go when they are what new interfaces begin with, and nothing that spreads
 * differs. Pure. -ENOMEM leaves `net` as it was.
 */
int lx_net_sysctl_prune(Lxmgr__V1__GuestNetwork *net, const Lxmgr__V1__GuestNetwork *fresh);

/* Those of no interface. What the destination's kernel does not have or take is logged. */
int lx_net_sysctl_load(int netns, const Lxmgr__V1__GuestNetwork *net, struct lx_err *err);
/* Those of one interface that exists now. */
int lx_net_sysctl_load_link(int netns, const Lxmgr__V1__GuestNetwork *net, const char *link,
			    struct lx_err *err);

/* The value of one interface's addr_gen_mode, 0 when it is not known. It is set by netlink (net_load.c). */
unsigned lx_net_sysctl_addr_gen_mode(const Lxmgr__V1__GuestNetwork *net, const char *link);

#endif
