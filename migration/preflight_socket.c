/*
 * Three dumps of sock_diag: unix, TCP over IPv4 and IPv6, netlink. Each message is judged by
 * itself. A kernel without one of the modules answers ENOENT: then there is nothing to ask.
 */
#include "migration/preflight_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "migration/proc_text.h"
#include "migration/sock_diag.h"

/* ---- which are the guest's ---- */

int lx_guest_sockets_add(struct lx_guest_sockets *t, const struct lx_guest_socket *socket, struct lx_err *err)
{
	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 256;
		struct lx_guest_socket *s = realloc(t->s, cap * sizeof(*s));

		if (!s)
			return lx_err_oom(err);
		t->s = s;
		t->cap = cap;
	}
	t->s[t->n++] = *socket;
	return 0;
}

static int by_ino(const void *a, const void *b)
{
	uint64_t x = ((const struct lx_guest_socket *)a)->ino, y = ((const struct lx_guest_socket *)b)->ino;

	return x < y ? -1 : x > y;
}

void lx_guest_sockets_sort(struct lx_guest_sockets *t)
{
	if (t->n)
		qsort(t->s, t->n, sizeof(*t->s), by_ino);
}

const struct lx_guest_socket *lx_guest_socket_find(const struct lx_guest_sockets *t, uint64_t ino)
{
	struct lx_guest_socket key = { .ino = ino };

	return t->n ? bsearch(&key, t->s, t->n, sizeof(key), by_ino) : NULL;
}

void lx_guest_sockets_release(struct lx_guest_sockets *t)
{
	free(t->s);
	*t = (struct lx_guest_sockets){ 0 };
}

/* ---- judging ---- */

static void judge_unix(const struct nlmsghdr *h, const struct unix_diag_msg *m,
		       const struct lx_guest_sockets *sockets, struct lx_verdict *v)
{
	size_t len;
	const void *p = lx_sock_diag_attribute(h, sizeof(*m), UNIX_DIAG_PEER, sizeof(uint32_t), &len);
	uint32_t peer = 0;
	char name[128] = "";

	if (p)
		memcpy(&peer, p, sizeof(peer));
	/* 0: not connected, or not accepted yet. */
	if (!peer || lx_guest_socket_find(sockets, peer))
		return;
	p = lx_sock_diag_attribute(h, sizeof(*m), UNIX_DIAG_NAME, 1, &len);
	if (p) {
		const char *s = p;

		name[0] = ' ';
		/* An abstract name begins with a NUL, shown as @. */
		if (!*s)
			name[1] = '@';
		lx_proc_printable(s + !*s, !*s ? len - 1 : strnlen(s, len), name + 1 + !*s,
				  sizeof(name) - 1 - !*s);
	}
	v->code = "unix-peer";
	snprintf(v->what, sizeof(v->what), "has a unix socket%s whose other end (inode %u) is outside", name,
		 peer);
	snprintf(v->cure, sizeof(v->cure),
		 "End the connection: restart it, or remove the node's socket from the instance.");
}

static void judge_tcp(const struct nlmsghdr *h, const struct inet_diag_msg *m, struct lx_verdict *v)
{
	size_t len, name_len;
	const char *ulp = lx_sock_diag_attribute(h, sizeof(*m), INET_DIAG_ULP_INFO, 1, &len);

	if (!ulp)
		return;
	/* Nested: INET_ULP_INFO_NAME is the text. */
	for (const char *end = ulp + len; end - ulp >= (ptrdiff_t)sizeof(struct nlattr);) {
		struct nlattr a;

		memcpy(&a, ulp, sizeof(a));
		if (a.nla_len < sizeof(a) || a.nla_len > end - ulp)
			return;
		name_len = a.nla_len - sizeof(a);
		if ((a.nla_type & NLA_TYPE_MASK) == INET_ULP_INFO_NAME && name_len >= 3 &&
		    memcmp(ulp + sizeof(a), "tls", 3) == 0) {
			v->code = "ktls";
			snprintf(v->what, sizeof(v->what),
				 "has a TCP connection that the kernel encrypts (kTLS), at port %u",
				 ntohs(m->id.idiag_sport));
			snprintf(v->cure, sizeof(v->cure),
				 "Switch kTLS off in its configuration (nginx: ssl_conf_command Options "
				 "-KTLS) and "
				 "restart it, or wait until the connection ends.");
			return;
		}
		if (NLA_ALIGN(a.nla_len) > end - ulp)
			return;
		ulp += NLA_ALIGN(a.nla_len);
	}
}

static void judge_netlink(const struct nlmsghdr *h, const struct netlink_diag_msg *m, struct lx_verdict *v)
{
	size_t len;
	const unsigned char *groups = lx_sock_diag_attribute(h, sizeof(*m), NETLINK_DIAG_GROUPS, 1, &len);

	if (!groups)
		return;
	for (size_t i = 4; i < len; i++) {
		if (!groups[i])
			continue;
		v->code = "netlink-group";
		snprintf(v->what, sizeof(v->what), "listens to a netlink group above 32 (protocol %u)",
			 m->ndiag_protocol);
		snprintf(v->cure, sizeof(v->cure), "Stop it for the time of the move.");
		return;
	}
}

void lx_judge_diag(const void *msg, size_t size, int family, const struct lx_guest_sockets *sockets,
		   uint64_t *ino, struct lx_verdict *v)
{
	const struct nlmsghdr *h = msg;
	const void *body = NLMSG_DATA(h);

	*ino = 0;
	memset(v, 0, sizeof(*v));
	if (size < sizeof(*h) || h->nlmsg_len < sizeof(*h) || h->nlmsg_len > size)
		return;
	size = h->nlmsg_len - NLMSG_HDRLEN;
	if (family == AF_UNIX && size >= sizeof(struct unix_diag_msg)) {
		const struct unix_diag_msg *m = body;

		*ino = m->udiag_ino;
		if (lx_guest_socket_find(sockets, *ino))
			judge_unix(h, m, sockets, v);
	} else if ((family == AF_INET || family == AF_INET6) && size >= sizeof(struct inet_diag_msg)) {
		const struct inet_diag_msg *m = body;

		*ino = m->idiag_inode;
		if (lx_guest_socket_find(sockets, *ino))
			judge_tcp(h, m, v);
	} else if (family == AF_NETLINK && size >= sizeof(struct netlink_diag_msg)) {
		const struct netlink_diag_msg *m = body;

		*ino = m->ndiag_ino;
		if (lx_guest_socket_find(sockets, *ino))
			judge_netlink(h, m, v);
	}
}

/* ---- asking ---- */

/* The same socket may be open more than once: all of them. */
static void mark_seen(struct lx_guest_sockets *t, uint64_t ino)
{
	const struct lx_guest_socket *found = lx_guest_socket_find(t, ino);

	if (!found)
		return;
	size_t at = (size_t)(found - t->s);

	for (size_t i = at; i < t->n && t->s[i].ino == ino; i++)
		t->s[i].seen = true;
	for (size_t i = at; i > 0 && t->s[i - 1].ino == ino; i--)
		t->s[i - 1].seen = true;
}

struct asking {
	int family;
	struct lx_guest_sockets *sockets;
	lx_socket_verdict_fn fn;
	void *arg;
};

static int judge(void *arg, const struct nlmsghdr *h, size_t left, struct lx_err *err)
{
	const struct asking *a = arg;
	struct lx_verdict v;
	uint64_t ino;

	lx_judge_diag(h, left, a->family, a->sockets, &ino, &v);
	mark_seen(a->sockets, ino);
	return v.code ? a->fn(a->arg, lx_guest_socket_find(a->sockets, ino)->process, &v, err) : 0;
}

int lx_preflight_sockets(int net, struct lx_guest_sockets *sockets, lx_socket_verdict_fn fn, void *arg,
			 struct lx_err *err)
{
	struct {
		struct nlmsghdr h;
		union {
			struct unix_diag_req u;
			struct inet_diag_req_v2 i;
			struct netlink_diag_req n;
		};
	} req[] = {
		{ .u = { .sdiag_family = AF_UNIX,
			 .udiag_states = ~0u,
			 .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER } },
		{ .i = { .sdiag_family = AF_INET,
			 .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = 1u << TCP_ESTABLISHED } },
		{ .i = { .sdiag_family = AF_INET6,
			 .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = 1u << TCP_ESTABLISHED } },
		{ .n = { .sdiag_family = AF_NETLINK,
			 .sdiag_protocol = NDIAG_PROTO_ALL,
			 .ndiag_show = NDIAG_SHOW_GROUPS } },
	};
	struct asking a = { .sockets = sockets, .fn = fn, .arg = arg };
	lx_autoclose int fd = lx_sock_diag_open(net, err);

	if (fd < 0)
		return fd;
	for (size_t i = 0; i < LX_ARRAY_SIZE(req); i++) {
		a.family = req[i].u.sdiag_family;
		int r = lx_sock_diag_ask(fd, &req[i], sizeof(req[i]), judge, &a, err);

		if (r < 0)
			return r;
	}
	return 0;
}
