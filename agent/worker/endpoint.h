/*
 * One end of a proxy as a socket: made by whoever is on the right side, the daemon for the node's and
 * its half inside (inside.h) for the guest's. Of a fixed size, so that it can be sent as it is.
 */
#ifndef LX_PROXY_ENDPOINT_H
#define LX_PROXY_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "profiles/proxy.h"

struct lx_endpoint {
	int type; /* SOCK_STREAM, SOCK_DGRAM */
	struct sockaddr_storage addr;
	socklen_t len;
	bool early; /* listen also where the address is not there yet: the guest sets its own up */
	bool owned; /* a path, with owner and mode */
	uint32_t mode, uid, gid;
};

/* `port`: which one of a range. `early`, `owned` and what belongs to it are left 0. */
void lx_endpoint_of(const struct lx_proxy_address *a, unsigned port, struct lx_endpoint *ret);

/* Non-blocking, close-on-exec sockets; negative errno. A connection may still be under way. */
int lx_endpoint_listen(const struct lx_endpoint *e);
int lx_endpoint_connect(const struct lx_endpoint *e);

/* Removes the socket of a path when nobody listens there any more. */
void lx_endpoint_forget(const struct lx_endpoint *e);
/* 0 when one could listen there now, else what it would fail with. Leaves nothing. */
int lx_endpoint_try(const struct lx_endpoint *e);

#endif
