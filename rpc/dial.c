/*
 * Connecting a client: a unix path, an address, or a name and each of its addresses in turn.
 *
 * Happy path: (look up,) connect, lx_conn_start().
 * Ways to fail: the name is unknown, no address answers (the last one's error is told), the
 * connection gives up meanwhile: it closes the handle, and what is still under way here
 * finds it failed and only drops its hold on the connection.
 */
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "lib/str.h"
#include "rpc/address.h"
#include "rpc/conn.h"

#define UNIX_PREFIX "unix:"

struct lx_dial {
	struct lx_conn *conn;
	uv_getaddrinfo_t resolve;
	uv_connect_t connect;
	struct addrinfo *list, *next; /* what was looked up, what is tried next */
};

static const char *unix_path(const char *target)
{
	return lx_starts_with(target, UNIX_PREFIX) ? target + strlen(UNIX_PREFIX) : NULL;
}

int lx_dial_check(const char *target, bool tls, struct lx_err *err)
{
	const char *path = unix_path(target);
	struct lx_address a;

	if (!path) {
		if (!tls)
			return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: only unix sockets go without TLS",
					  target);
		return lx_address_parse(target, &a, err);
	}
	if (tls)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: unix sockets go without TLS", target);
	if (!*path || strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: the path is %s", target,
				  *path ? "too long for a socket" : "missing");
	return 0;
}

static void fail(struct lx_conn *c, const char *what, int error)
{
	struct lx_err err = LX_ERR_INIT;

	lx_err_set(&err, error == UV_EACCES || error == UV_EPERM ? LX_PERMISSION_DENIED : LX_UNAVAILABLE,
		   "cannot %s %s: %s", what, c->name, uv_strerror(error));
	lx_conn_fail(c, &err);
}

static void try_next(struct lx_dial *d, int error);

static void on_connect(uv_connect_t *req, int status)
{
	struct lx_dial *d = req->data;

	if (d->conn->failed)
		return;
	if (status < 0)
		try_next(d, status);
	else
		lx_conn_start(d->conn);
}

static int connect_tcp(struct lx_dial *d, const struct sockaddr *addr)
{
	struct lx_conn *c = d->conn;
	int r = uv_tcp_init(c->loop, &c->io.tcp);

	if (r < 0)
		return r;
	c->io.handle.data = c;
	c->io_open = true;
	c->handles++;
	uv_tcp_nodelay(&c->io.tcp, 1);
	return uv_tcp_connect(&d->connect, &c->io.tcp, addr, on_connect);
}

static void on_failed_closed(uv_handle_t *handle)
{
	struct lx_conn *c = handle->data;
	struct lx_dial *d = c->dial;
	const struct addrinfo *ai = d->next;
	int r;

	if (!c->failed) {
		d->next = ai->ai_next;
		r = connect_tcp(d, ai->ai_addr);
		if (r < 0)
			try_next(d, r);
	}
	lx_conn_unref(c);
}

/* A handle connects once: the failed one is closed before the next address is tried. */
static void try_next(struct lx_dial *d, int error)
{
	struct lx_conn *c = d->conn;

	if (!d->next) {
		fail(c, "connect to", error);
		return;
	}
	c->io_open = false;
	uv_close(&c->io.handle, on_failed_closed);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
	struct lx_dial *d = req->data;
	struct lx_conn *c = d->conn;
	int r;

	d->list = res;
	if (!c->failed) {
		if (status < 0 || !res) {
			fail(c, "look up", status < 0 ? status : UV_EAI_NODATA);
		} else {
			d->next = res->ai_next;
			r = connect_tcp(d, res->ai_addr);
			if (r < 0)
				fail(c, "connect to", r);
		}
	}
	lx_conn_unref(c);
}

static void dial_tcp(struct lx_dial *d)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct lx_conn *c = d->conn;
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6;
	struct lx_err err = LX_ERR_INIT;
	struct lx_address a;
	int r;

	if (lx_address_parse(c->name, &a, &err) < 0) {
		lx_conn_fail(c, &err);
		return;
	}
	if (uv_ip4_addr(a.host, a.port, &sin) == 0) {
		r = connect_tcp(d, (struct sockaddr *)&sin);
	} else if (uv_ip6_addr(a.host, a.port, &sin6) == 0) {
		r = connect_tcp(d, (struct sockaddr *)&sin6);
	} else {
		r = uv_getaddrinfo(c->loop, &d->resolve, on_resolved, a.host, a.service, &hints);
		if (r == 0)
			c->handles++;
	}
	if (r < 0)
		fail(c, "connect to", r);
}

void lx_dial(struct lx_conn *c)
{
	struct lx_dial *d = calloc(1, sizeof(*d));
	const char *path = unix_path(c->name);

	if (!d) {
		fail(c, "connect to", UV_ENOMEM);
		return;
	}
	c->dial = d;
	d->conn = c;
	d->connect.data = d;
	d->resolve.data = d;
	if (!path) {
		dial_tcp(d);
		return;
	}
	uv_pipe_init(c->loop, &c->io.pipe, 0);
	c->io.handle.data = c;
	c->io_open = true;
	c->handles++;
	uv_pipe_connect(&d->connect, &c->io.pipe, path, on_connect);
}

void lx_dial_free(struct lx_dial *d)
{
	if (!d)
		return;
	uv_freeaddrinfo(d->list);
	free(d);
}
