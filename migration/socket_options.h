/*
 * Options of a guest's sockets that CRIU does not carry (its images/sk-opts.proto has those that it does),
 * and that a program finds missing: whether messages come with the time or with a pidfd of who has sent them,
 * how strict netlink is, which control messages a UDP or a raw socket gives, how long TCP tries. And
 * the multicast groups that they have joined (memberships.h).
 *
 * Recorded is what is not as in a new socket of that kind.
 */
#ifndef LX_MIGRATION_SOCKET_OPTIONS_H
#define LX_MIGRATION_SOCKET_OPTIONS_H

#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"
#include "lxmgr/v1/migration.pb-c.h"

/* Of one guest; further sockets are restored without. */
#define LX_GUEST_SOCKETS_MAX 65536u

/* Of these processes, which stand still; groups are those of init's network. Adds to out->sockets. */
int lx_socket_options_save(pid_t init, const pid_t *pids, size_t n, Lxmgr__V1__GuestState *out,
			   struct lx_err *err);
/*
 * For processes that were restored, with the descriptors that they had, and have not run yet. Only options
 * that are known here are set, whatever is asked for. Does all that it can; returns how many it has set, and
 * groups that it has joined.
 */
unsigned lx_socket_options_load(const pid_t *pids, size_t n, const Lxmgr__V1__GuestState *state);

#endif
