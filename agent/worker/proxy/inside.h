/*
 * The half of a proxy that is in the guest: a process in its user, mount and network namespaces, as
 * its root, that makes sockets there and hands them out. So whatever paths and addresses the guest
 * prepares lead nowhere its root could not go by itself. It is in the node's process namespace, where
 * the guest does not see it. It ends with who started it.
 *
 * Requests are answered in their order; a callback fires exactly once, never before the call that took
 * it has returned.
 */
#ifndef LX_PROXY_INSIDE_H
#define LX_PROXY_INSIDE_H

#include <uv.h>

#include "agent/worker/endpoint.h"
#include "lib/err.h"

struct lx_inside;

/* A socket, the callback's to close; or a negative errno. */
typedef void (*lx_inside_cb)(int fd, void *arg);

int lx_inside_start(uv_loop_t *loop, int init_pidfd, bool privileged, struct lx_inside **ret,
		    struct lx_err *err);
/* What is asked and not yet answered is answered with -ESRCH. NULL is fine. */
void lx_inside_stop(struct lx_inside *in);

/* 0, or a negative errno (then the callback never fires). */
int lx_inside_ask(struct lx_inside *in, bool listen, const struct lx_endpoint *e, lx_inside_cb cb, void *arg);

#endif
