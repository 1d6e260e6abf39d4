/*
 * Sockets that have to be asked about in the network namespace they are in (sock_diag(7)):
 * the other ends of unix sockets, encryption done by the kernel, groups of netlink sockets.
 */
#ifndef LX_MIGRATION_PREFLIGHT_SOCKET_H
#define LX_MIGRATION_PREFLIGHT_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"
#include "migration/guest_processes.h"
#include "migration/preflight_judge.h"

/* A socket that a process of the guest has open. */
struct lx_guest_socket {
	uint64_t ino;
	size_t process; /* its index */
	int fd;
	bool is_unix;
	bool seen; /* in a network namespace of the guest */
};

struct lx_guest_sockets {
	struct lx_guest_socket *s; /* by inode, once sorted */
	size_t n, cap;
};

int lx_guest_sockets_add(struct lx_guest_sockets *t, const struct lx_guest_socket *s, struct lx_err *err);
void lx_guest_sockets_sort(struct lx_guest_sockets *t);
const struct lx_guest_socket *lx_guest_socket_find(const struct lx_guest_sockets *t, uint64_t ino);
void lx_guest_sockets_release(struct lx_guest_sockets *t);

typedef int (*lx_socket_verdict_fn)(void *arg, size_t process, const struct lx_verdict *v,
				    struct lx_err *err);

/*
 * Looks at the network namespace that is open as `net`. The calling thread is in it for an instant: only
 * to open a socket. Marks those of `sockets` that are met.
 */
int lx_preflight_sockets(int net, struct lx_guest_sockets *sockets, lx_socket_verdict_fn fn, void *arg,
			 struct lx_err *err);

/* One answer (a message of sock_diag, header included) judged. Pure. `ino` 0: nothing to say. */
void lx_judge_diag(const void *msg, size_t len, int family, const struct lx_guest_sockets *sockets,
		   uint64_t *ino, struct lx_verdict *v);

#endif
