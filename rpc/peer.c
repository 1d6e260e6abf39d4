/*
 * Who is at the other end. A unix socket's kernel credentials are those of the process that
 * connected; a TCP peer has an address here and an identity once its certificate is verified
 * (transport_tls.c).
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "rpc/conn.h"

static int unix_peer(struct lx_conn *c, int fd, struct lx_err *err)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return lx_err_errno(err, errno, "cannot learn who is at the other end of a unix socket");
	c->peer.kind = LX_PEER_UNIX;
	c->peer.uid = cred.uid;
	c->peer.gid = cred.gid;
	c->peer.pid = cred.pid;
	snprintf(c->address, sizeof(c->address), "unix");
	return 0;
}

static int tcp_peer(struct lx_conn *c, struct lx_err *err)
{
	struct sockaddr_storage ss;
	int len = sizeof(ss), r;
	char ip[48] = "";

	r = uv_tcp_getpeername(&c->io.tcp, (struct sockaddr *)&ss, &len);
	if (r < 0)
		return lx_err_errno(err, r, "cannot learn the peer's address");
	c->peer.kind = LX_PEER_TLS;
	if (ss.ss_family == AF_INET6) {
		const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)&ss;

		uv_ip6_name(sin6, ip, sizeof(ip));
		snprintf(c->address, sizeof(c->address), "[%s]:%u", ip, ntohs(sin6->sin6_port));
	} else {
		const struct sockaddr_in *sin = (const struct sockaddr_in *)&ss;

		uv_ip4_name(sin, ip, sizeof(ip));
		snprintf(c->address, sizeof(c->address), "%s:%u", ip, ntohs(sin->sin_port));
	}
	return 0;
}

int lx_peer_from_socket(struct lx_conn *c, struct lx_err *err)
{
	uv_os_fd_t fd;
	int r;

	c->peer.address = c->address;
	if (c->io.handle.type == UV_TCP)
		return tcp_peer(c, err);
	r = uv_fileno(&c->io.handle, &fd);
	if (r < 0)
		return lx_err_errno(err, r, "cannot use a unix socket");
	return unix_peer(c, fd, err);
}

void lx_peer_release(struct lx_peer *p)
{
	free((char *)(uintptr_t)p->common_name);
	free((char *)(uintptr_t)p->org_unit);
	free((char *)(uintptr_t)p->fingerprint);
	*p = (struct lx_peer){ 0 };
}
