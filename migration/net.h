/*
 * The inside of a guest's network namespace, taken from one and made in another: links with
 * their indexes, addresses, routes, rules, sysctls, packet filter.
 *
 * CRIU is told to leave the namespace's devices alone (empty-ns net) and carries only the
 * sockets: its own way forks a handful of programs and meets EPERM on veths of unprivileged
 * containers. Saving happens while the guest is frozen, loading while its restore waits at
 * the hook "setup-namespaces"; both take milliseconds and fork nothing, but for nft when the
 * guest has rules.
 *
 * rtnetlink(7), nft(8).
 */
#ifndef LX_MIGRATION_NET_H
#define LX_MIGRATION_NET_H

#include <sys/types.h>

#include "lib/err.h"
#include "lxmgr/v1/agent.pb-c.h"
#include "lxmgr/v1/migration.pb-c.h"

/*
 * Everything of the network namespace of process `pid`. `out` was initialised by the caller, who
 * frees it. `nics`: the instance's cards, which tell the host end of each link. A link of
 * a kind that cannot be carried (anything but lo and a known veth) is FAILED_PRECONDITION
 * with its name; lx_net_check() finds them ahead.
 */
int lx_net_save(pid_t pid, size_t n_nics, Lxmgr__V1__Nic *const *nics, Lxmgr__V1__GuestNetwork *out,
		struct lx_err *err);
/* The part of it that takes long and changes rarely (sysctls): ahead of the freeze, into the same `out`. */
int lx_net_save_ahead(pid_t pid, Lxmgr__V1__GuestNetwork *out, struct lx_err *err);

/*
 * Calls `fn` for each obstacle: "link" (cannot be carried), "xfrm", "iptables-legacy",
 * "iptables-nft"; not blocking: "qdisc" (lost).
 */
int lx_net_check(pid_t pid, size_t n_nics, Lxmgr__V1__Nic *const *nics,
		 int (*fn)(void *arg, const Lxmgr__V1__MoveObstacle *o, struct lx_err *err), void *arg,
		 struct lx_err *err);

/*
 * What makes loading faster, ahead of the freeze: a sample of what a new namespace has on this
 * machine, and, in memory, what of `net` need not be set because of it. Both may be left out.
 */
int lx_net_load_ahead(Lxmgr__V1__GuestNetwork *fresh, struct lx_err *err);
int lx_net_load_prune(Lxmgr__V1__GuestNetwork *net, const Lxmgr__V1__GuestNetwork *fresh, struct lx_err *err);

/*
 * Makes it anew in the (empty) network namespace of `pid`. The veths are made with their
 * host ends in the caller's namespace, up (a carrier that comes and goes would be noticed
 * inside) but in no bridge, under the names of `nics`, with the guest's hardware addresses and
 * link indexes of before. Nothing of the guest gets further before lx_net_plug().
 */
int lx_net_load(pid_t pid, const Lxmgr__V1__GuestNetwork *net, size_t n_nics, Lxmgr__V1__Nic *const *nics,
		struct lx_err *err);

/* Host ends into their bridges, and up. */
int lx_net_plug(size_t n_nics, Lxmgr__V1__Nic *const *nics, struct lx_err *err);
/* Host ends out of their bridges: the guest is cut off, and does not notice before it sends. */
int lx_net_unplug(size_t n_nics, Lxmgr__V1__Nic *const *nics, struct lx_err *err);
/* Host ends down: whatever its sockets say when its processes are killed, nobody hears. */
int lx_net_silence(size_t n_nics, Lxmgr__V1__Nic *const *nics, struct lx_err *err);

#endif
