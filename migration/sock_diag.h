/* Asking the kernel about the sockets of a network namespace (sock_diag(7)). */
#ifndef LX_MIGRATION_SOCK_DIAG_H
#define LX_MIGRATION_SOCK_DIAG_H

#include <linux/netlink.h>
#include <stddef.h>

#include "lib/err.h"

/*
 * A descriptor to ask with, of the network namespace that is open as `net`. The calling thread is in it
 * for an instant.
 */
int lx_sock_diag_open(int net, struct lx_err *err);
/*
 * Asks for all sockets of a kind: `req`, of `size` bytes, begins with a nlmsghdr, which is filled in here.
 * `each` gets every answer; `left`: bytes from it to the end of what has come. A kernel that does not know
 * that kind has none. A negative result of `each` ends it and is returned.
 */
typedef int (*lx_sock_diag_fn)(void *arg, const struct nlmsghdr *h, size_t left, struct lx_err *err);
int lx_sock_diag_ask(int fd, void *req, size_t size, lx_sock_diag_fn each, void *arg, struct lx_err *err);
/* An attribute's payload of at least `min` bytes behind a message's fixed part, or NULL. */
const void *lx_sock_diag_attribute(const struct nlmsghdr *h, size_t fixed, int type, size_t min, size_t *len);

#endif
