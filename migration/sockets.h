/*
 * Sockets of a guest, from outside: counting its connections, and mending what a CRIU that was
 * killed in the middle of a dump left behind.
 *
 * A dump puts each TCP socket into repair mode (tcp_repair, tcp(7): it neither sends nor
 * acknowledges), and in older versions locked the network with a packet filter table of its own. A
 * CRIU that ends in order undoes both; one that was killed leaves a guest that runs, but is mute. Nothing
 * here needs CRIU's files, and mending what is whole changes nothing.
 */
#ifndef LX_MIGRATION_SOCKETS_H
#define LX_MIGRATION_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"
#include "lib/map.h"

/*
 * Takes every TCP socket of these processes out of repair mode. They should be frozen, or sockets
 * they open meanwhile are missed, which need no mending. Processes that are gone are skipped. Mends all
 * it can; the first failure is returned. `ret_mended`: how many were in repair mode; may be NULL.
 */
int lx_sockets_mend(const pid_t *pids, size_t n, unsigned *ret_mended, struct lx_err *err);

/* Removes CRIU's packet filter tables from the network namespace of `pid`. Nothing there is success. */
int lx_net_unlock(pid_t pid, struct lx_err *err);

/*
 * Whether a socket of these processes, which stand still, has something that CRIU does not dump: a netlink
 * socket anything, a unix socket what comes with more than descriptors, with its sender (SO_PASSCRED and
 * its like, unix(7)) or the time. It is read as soon as they run for a moment.
 */
int lx_sockets_unread(const pid_t *pids, size_t n, bool *ret, struct lx_err *err);
/* How much that is, of several processes: bytes, and one for each netlink socket. */
int lx_sockets_unread_bytes(const pid_t *pids, size_t n, uint64_t *ret, struct lx_err *err);
/* The names of such sockets of one process, "socket:[4026]", into `names` (no values). Returns how many. */
int lx_sockets_unread_names(pid_t pid, struct lx_map *names, struct lx_err *err);

/* Established TCP connections in the network namespace of `pid`: those a live move carries. */
int lx_sockets_count(pid_t pid, unsigned *ret_established, struct lx_err *err);

#endif
