/* Sockets of proxies, see the header. */
#include "agent/worker/endpoint.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define BACKLOG 512

_Static_assert(LX_PROXY_PATH_MAX + 1 == sizeof(((struct sockaddr_un *)0)->sun_path), "what was checked fits");

/* ------------------------------------------------------------------ addresses */

static void of_path(const char *path, struct lx_endpoint *e)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&e->addr;
	size_t n = strnlen(path, LX_PROXY_PATH_MAX);

	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, n);
	/* An abstract name begins with a zero, and ends where its length says. */
	if (path[0] == '@')
		un->sun_path[0] = '\0';
	e->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] != '@'));
}

void lx_endpoint_of(const struct lx_proxy_address *a, unsigned port, struct lx_endpoint *ret)
{
	struct lx_endpoint e = { .type = a->kind == LX_PROXY_UDP ? SOCK_DGRAM : SOCK_STREAM };
	uint16_t number = htons((uint16_t)(a->port + port));

	if (a->kind == LX_PROXY_UNIX) {
		of_path(a->path, &e);
	} else if (a->v6) {
		struct sockaddr_in6 in = { .sin6_family = AF_INET6,
					   .sin6_port = number,
					   .sin6_addr = a->ipv6 };

		memcpy(&e.addr, &in, sizeof(in));
		e.len = sizeof(in);
	} else {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = number, .sin_addr = a->ipv4 };

		memcpy(&e.addr, &in, sizeof(in));
		e.len = sizeof(in);
	}
	*ret = e;
}

static const char *path_of(const struct lx_endpoint *e)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&e->addr;

	return e->addr.ss_family == AF_UNIX && un->sun_path[0] ? un->sun_path : NULL;
}

/* ------------------------------------------------------------------ sockets */

static int open_socket(const struct lx_endpoint *e)
{
	int fd = socket(e->addr.ss_family, e->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

int lx_endpoint_connect(const struct lx_endpoint *e)
{
	lx_autoclose int fd = open_socket(e);

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)&e->addr, e->len) < 0 && errno != EINPROGRESS)
		return -errno;
	return lx_move_fd(fd);
}

static void set_options(int fd, const struct lx_endpoint *e)
{
	int on = 1;

	/* Of a listener that has ended, connections may still be on their way out. */
	if (e->type == SOCK_STREAM && e->addr.ss_family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* [::] and 0.0.0.0 are two addresses. */
	if (e->addr.ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (e->early && e->addr.ss_family == AF_INET)
		(void)setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));
	if (e->early && e->addr.ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on));
}

/* A socket of a path stays when who listened there has been killed. */
static bool is_abandoned(const struct lx_endpoint *e)
{
	const char *path = path_of(e);
	struct stat st;

	if (!path || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	lx_autoclose int fd = lx_endpoint_connect(e);

	return fd == -ECONNREFUSED;
}

void lx_endpoint_forget(const struct lx_endpoint *e)
{
	if (is_abandoned(e))
		(void)unlink(path_of(e));
}

int lx_endpoint_try(const struct lx_endpoint *e)
{
	struct stat st;

	if (path_of(e))
		return lstat(path_of(e), &st) < 0 || is_abandoned(e) ? 0 : -EADDRINUSE;
	lx_autoclose int fd = lx_endpoint_listen(e);

	return fd < 0 ? fd : 0;
}

static int bind_to(int fd, const struct lx_endpoint *e)
{
	int r = bind(fd, (const struct sockaddr *)&e->addr, e->len) < 0 ? -errno : 0;

	if (r != -EADDRINUSE || !is_abandoned(e))
		return r;
	if (unlink(path_of(e)) < 0)
		return -errno;
	return bind(fd, (const struct sockaddr *)&e->addr, e->len) < 0 ? -errno : 0;
}

int lx_endpoint_listen(const struct lx_endpoint *e)
{
	lx_autoclose int fd = open_socket(e);

	if (fd < 0)
		return fd;
	set_options(fd, e);
	/* Nobody gets in before its mode is set: only what comes after listen(2) is let in. */
	int r = bind_to(fd, e);

	if (r < 0)
		return r;
	if (e->owned && (lchown(path_of(e), e->uid, e->gid) < 0 || chmod(path_of(e), e->mode) < 0))
		r = -errno;
	if (r == 0 && e->type == SOCK_STREAM && listen(fd, BACKLOG) < 0)
		r = -errno;
	if (r == 0)
		return lx_move_fd(fd);
	if (path_of(e))
		(void)unlink(path_of(e));
	return r;
}
