/*
 * Multicast groups that a guest's sockets have joined (ip(7), ipv6(7), RFC 3678): CRIU does not carry them.
 *
 * The kernel lists the groups of an interface (/proc/PID/net/igmp, igmp6; proc(5)) and does not say whose
 * they are. A socket that is asked for its filter of one (MCAST_MSFILTER) answers if it has joined it, with
 * the sources, and else with EADDRNOTAVAIL.
 */
#ifndef LX_MIGRATION_MEMBERSHIPS_H
#define LX_MIGRATION_MEMBERSHIPS_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lxmgr/v1/migration.pb-c.h"

/* Of one guest, and of one socket; further ones are not carried. */
#define LX_GROUPS_MAX             1024u
#define LX_MEMBERSHIPS_MAX        256u
#define LX_MEMBERSHIP_SOURCES_MAX 64u

struct lx_group {
	uint32_t interface;
	struct sockaddr_storage address; /* sockaddr_in or sockaddr_in6 */
};

/* Groups that interfaces of a network namespace are in: of the kernel's own accord, or of a socket's. */
struct lx_groups {
	struct lx_group *v;
	size_t n;
};

/* Of the namespace of process `pid`, as far as they can be read. Free with lx_groups_release(). */
void lx_groups_read(pid_t pid, struct lx_groups *ret);
void lx_groups_release(struct lx_groups *g);

/* Those of them that this socket has joined, added to out->memberships. -ENOMEM or 0. */
int lx_memberships_save(int fd, const struct lx_groups *g, Lxmgr__V1__GuestSocket *out);
/* Joins them. What the kernel refuses is passed over; returns how many it has joined now. */
unsigned lx_memberships_load(int fd, const Lxmgr__V1__GuestSocket *s);

#endif
