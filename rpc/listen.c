/*
 * The sockets a server listens on.
 *
 * Happy path of a unix socket: made under a temporary name with its mode and group, then
 * renamed into place, so that it is never open to the wrong people and takes the place of
 * a stale one in one step.
 * Ways to fail: somebody listens there already, the path is something else than a
 * socket or too long, no right to bind.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "rpc/address.h"
#include "rpc/server.h"
#include "rpc/tls.h"

#define BACKLOG 1024
/* A peer that vanished without a word is noticed after some two minutes. */
#define TCP_KEEPALIVE_S 60

/* ------------------------------------------------------------------ accepting */

static int accept_into(struct lx_listener *l, struct lx_conn *c)
{
	int r;

	if (l->tls)
		r = uv_tcp_init(l->server->loop, &c->io.tcp);
	else
		r = uv_pipe_init(l->server->loop, &c->io.pipe, 0);
	if (r < 0)
		return r;
	c->io_open = true;
	c->handles++;
	c->io.handle.data = c;
	r = uv_accept(&l->io.stream, &c->io.stream);
	if (r < 0 || !l->tls)
		return r;
	uv_tcp_nodelay(&c->io.tcp, 1);
	uv_tcp_keepalive(&c->io.tcp, 1, TCP_KEEPALIVE_S);
	return 0;
}

/* Without a connection to take it, a pending client is accepted and closed at once. */
static void on_reject_closed(uv_handle_t *handle)
{
	free(handle);
}

static void reject(struct lx_listener *l)
{
	uv_stream_t *s = malloc(l->tls ? sizeof(uv_tcp_t) : sizeof(uv_pipe_t));

	if (!s)
		return;
	if (l->tls)
		uv_tcp_init(l->server->loop, (uv_tcp_t *)s);
	else
		uv_pipe_init(l->server->loop, (uv_pipe_t *)s, 0);
	(void)uv_accept(&l->io.stream, s);
	uv_close((uv_handle_t *)s, on_reject_closed);
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct lx_listener *l = stream->data;
	struct lx_server *s = l->server;
	struct lx_err err = LX_ERR_INIT;
	struct lx_conn *c;
	int r;

	if (status < 0)
		return;
	if (s->n_conns >= LX_RPC_MAX_CONNECTIONS || lx_server_new_conn(s, l->tls, &c, &err) < 0) {
		lx_debug("connection refused", "connections=%u", s->n_conns);
		reject(l);
		return;
	}
	r = accept_into(l, c);
	if (r < 0) {
		lx_err_errno(&err, r, "cannot accept a connection");
		lx_conn_fail(c, &err);
		return;
	}
	lx_conn_start(c);
}

/* ------------------------------------------------------------------ life of a listener */

static struct lx_listener *listener_new(struct lx_server *s)
{
	struct lx_listener *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->server = s;
	TAILQ_INSERT_TAIL(&s->listeners, l, in_server);
	return l;
}

static void listener_free(struct lx_listener *l)
{
	TAILQ_REMOVE(&l->server->listeners, l, in_server);
	lx_tls_free(l->tls);
	free(l->path);
	free(l);
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct lx_listener *l = handle->data;

	/* The memory stays to the end: connections use the TLS context. */
	lx_server_unref(l->server);
}

static void listener_close(struct lx_listener *l)
{
	struct stat st;

	/* Another server may have taken the path over: its socket is not ours to remove. */
	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	uv_close(&l->io.handle, on_listener_closed);
}

void lx_server_stop_listening(struct lx_server *s)
{
	struct lx_listener *l;

	TAILQ_FOREACH (l, &s->listeners, in_server)
		if (!uv_is_closing(&l->io.handle))
			listener_close(l);
}

void lx_server_free_listeners(struct lx_server *s)
{
	struct lx_listener *l;

	while ((l = TAILQ_FIRST(&s->listeners)))
		listener_free(l);
}

/* The handle is open: from here on closing it frees the listener. */
static int begin(struct lx_listener *l, const char *where, struct lx_err *err)
{
	int r = uv_listen(&l->io.stream, BACKLOG, on_connection);

	if (r == 0)
		return 0;
	lx_err_errno(err, r, "cannot listen on %s", where);
	listener_close(l);
	return r;
}

/* ------------------------------------------------------------------ unix */

/* 0: nobody answers at `path`, or nothing is there. */
static int check_free(const char *path, const struct sockaddr_un *addr, struct lx_err *err)
{
	lx_autoclose int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : lx_err_errno(err, errno, "cannot look at %s", path);
	if (!S_ISSOCK(st.st_mode)) {
		lx_err_set(err, LX_ALREADY_EXISTS, "cannot listen on %s: it exists and is not a socket",
			   path);
		return -EEXIST;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return lx_err_errno(err, errno, "cannot make a socket");
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 && errno == ECONNREFUSED)
		return 0;
	lx_err_set(err, LX_ALREADY_EXISTS, "cannot listen on %s: another process listens there", path);
	return -EADDRINUSE;
}

static int unix_address(const char *path, const char *suffix, struct sockaddr_un *addr, struct lx_err *err)
{
	int n;

	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(addr->sun_path, sizeof(addr->sun_path), "%s%s", path, suffix);
	if (n < 0 || (size_t)n >= sizeof(addr->sun_path))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the socket path %s is too long: at most %zu bytes", path,
				  sizeof(addr->sun_path) - 1 - strlen(suffix));
	return 0;
}

/* Makes the socket under a temporary name and moves it to `path`. Returns the descriptor. */
static int bind_unix(const char *path, mode_t mode, gid_t gid, struct lx_err *err)
{
	struct sockaddr_un addr, temp;
	char suffix[16];
	lx_autoclose int fd = -1;
	int r;

	snprintf(suffix, sizeof(suffix), ".%d", (int)getpid());
	r = unix_address(path, suffix, &temp, err);
	if (r == 0)
		r = unix_address(path, "", &addr, err);
	if (r == 0)
		r = check_free(path, &addr, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return lx_err_errno(err, errno, "cannot make a socket");
	(void)unlink(temp.sun_path);
	if (bind(fd, (struct sockaddr *)&temp, sizeof(temp)) < 0)
		return lx_err_errno(err, errno, "cannot listen on %s", path);
	/* Nobody can connect before listen(), so the mode is in time. */
	if (chmod(temp.sun_path, mode) < 0)
		r = lx_err_errno(err, errno, "cannot set the mode of %s", path);
	else if (gid != (gid_t)-1 && chown(temp.sun_path, (uid_t)-1, gid) < 0)
		r = lx_err_errno(err, errno, "cannot give %s to group %u", path, (unsigned)gid);
	else if (rename(temp.sun_path, path) < 0)
		r = lx_err_errno(err, errno, "cannot listen on %s", path);
	if (r < 0) {
		unlink(temp.sun_path);
		return r;
	}
	return lx_move_fd(fd);
}

int lx_server_listen_unix(struct lx_server *s, const char *path, mode_t mode, gid_t gid, struct lx_err *err)
{
	struct lx_listener *l;
	lx_autofree char *copy = strdup(path);
	struct stat st;
	int fd, r;

	if (!copy)
		return lx_err_oom(err);
	fd = bind_unix(path, mode, gid, err);
	if (fd < 0)
		return fd;
	l = listener_new(s);
	if (!l) {
		close(fd);
		unlink(path);
		return lx_err_oom(err);
	}
	if (lstat(path, &st) == 0) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	l->path = lx_move_ptr(copy);
	s->parts++;
	uv_pipe_init(s->loop, &l->io.pipe, 0);
	l->io.handle.data = l;
	r = uv_pipe_open(&l->io.pipe, fd);
	if (r < 0) {
		close(fd);
		lx_err_errno(err, r, "cannot listen on %s", path);
		listener_close(l);
		return r;
	}
	return begin(l, path, err);
}

/* ------------------------------------------------------------------ tcp */

static int bind_tcp(struct lx_listener *l, const char *address, struct lx_err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct lx_address a;
	uv_getaddrinfo_t req;
	int r;

	r = lx_address_parse(address, &a, err);
	if (r < 0)
		return r;
	/* Blocks, but only while a daemon starts. */
	r = uv_getaddrinfo(l->server->loop, &req, NULL, a.host, a.service, &hints);
	if (r < 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "cannot listen on %s: %s", address,
				  uv_strerror(r));
	r = uv_tcp_bind(&l->io.tcp, req.addrinfo->ai_addr, 0);
	uv_freeaddrinfo(req.addrinfo);
	return r < 0 ? lx_err_errno(err, r, "cannot listen on %s", address) : 0;
}

int lx_server_listen_tls(struct lx_server *s, const char *address, const struct lx_tls_config *tls,
			 struct lx_err *err)
{
	struct lx_listener *l = listener_new(s);
	int r;

	if (!l)
		return lx_err_oom(err);
	r = lx_tls_create(tls, true, &l->tls, err);
	if (r < 0) {
		listener_free(l);
		return r;
	}
	s->parts++;
	uv_tcp_init(s->loop, &l->io.tcp);
	l->io.handle.data = l;
	r = bind_tcp(l, address, err);
	if (r < 0) {
		listener_close(l);
		return r;
	}
	return begin(l, address, err);
}

int lx_server_port(const struct lx_server *s)
{
	struct sockaddr_storage ss;
	const struct lx_listener *l;
	int len = sizeof(ss);

	TAILQ_FOREACH (l, &s->listeners, in_server) {
		if (!l->tls || uv_tcp_getsockname(&l->io.tcp, (struct sockaddr *)&ss, &len) < 0)
			continue;
		if (ss.ss_family == AF_INET6)
			return ntohs(((struct sockaddr_in6 *)&ss)->sin6_port);
		return ntohs(((struct sockaddr_in *)&ss)->sin_port);
	}
	return -ENOENT;
}
