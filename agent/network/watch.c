/*
 * Two notification sockets, route and netfilter netlink, each polled by the loop. Messages
 * are only glanced at: who listens looks at the real state anyway. Ways to fail: no sockets
 * at the start; afterwards only lost notifications, which are an event of their own. A kernel
 * without nftables is watched without it.
 */
#include "agent/network/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "lib/cleanup.h"
#include "lib/log.h"

/* Larger than any message the kernel sends at once. */
#define RECEIVE_BYTES 32768
/* Room for a burst of interfaces while the loop is busy. */
#define SOCKET_BYTES (1 << 20)

struct source {
	struct lx_watch *watch;
	void (*look)(struct lx_watch *w, const struct nlmsghdr *h);
	uv_poll_t poll;
	int fd;
};

struct lx_watch {
	struct source route;
	struct source netfilter;
	unsigned open;
	int uplink;
	lx_watch_cb cb;
	void *arg;
	void (*closed_cb)(void *arg);
	void *closed_arg;
};

/* ------------------------------------------------------------------ messages */

/* NULL when it is not there. */
static const struct nlattr *find(const void *attrs, size_t len, unsigned type)
{
	const struct nlattr *a = attrs;

	while (len >= NLA_HDRLEN && a->nla_len >= NLA_HDRLEN && a->nla_len <= len) {
		size_t step = NLA_ALIGN(a->nla_len);

		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return a;
		if (step >= len)
			break;
		a = (const struct nlattr *)(const void *)((const char *)a + step);
		len -= step;
	}
	return NULL;
}

/* The attributes after a family header of `size` bytes. */
static const struct nlattr *message_attr(const struct nlmsghdr *h, size_t size, unsigned type)
{
	size_t skip = NLMSG_SPACE(size);

	return h->nlmsg_len > skip ? find((const char *)h + skip, h->nlmsg_len - skip, type) : NULL;
}

/* The attribute as text; NULL when it is not there, or not text. */
static const char *message_text(const struct nlmsghdr *h, size_t size, unsigned type)
{
	const struct nlattr *a = message_attr(h, size, type);
	const char *value = a ? (const char *)a + NLA_HDRLEN : NULL;
	size_t n = a ? a->nla_len - NLA_HDRLEN : 0;

	return n > 0 && value[n - 1] == '\0' ? value : NULL;
}

static void look_at_route(struct lx_watch *w, const struct nlmsghdr *h)
{
	const struct ifinfomsg *link = NLMSG_DATA(h);
	const struct rtmsg *route = NLMSG_DATA(h);
	const char *name;

	switch (h->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*link)) || link->ifi_family != AF_UNSPEC)
			return;
		if (link->ifi_index == w->uplink)
			w->cb(LX_WATCH_UPLINK, NULL, w->arg);
		name = message_text(h, sizeof(*link), IFLA_IFNAME);
		if (h->nlmsg_type == RTM_DELLINK && name)
			w->cb(LX_WATCH_LINK_DELETED, name, w->arg);
		else if (name)
			w->cb(message_attr(h, sizeof(*link), IFLA_MASTER) ? LX_WATCH_LINK_PLUGGED
									  : LX_WATCH_LINK_LOOSE,
			      name, w->arg);
		return;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(*route)) && route->rtm_dst_len == 0 &&
		    route->rtm_table == RT_TABLE_MAIN)
			w->cb(LX_WATCH_UPLINK, NULL, w->arg);
		return;
	default:
		return;
	}
}

static void look_at_netfilter(struct lx_watch *w, const struct nlmsghdr *h)
{
	const char *name;

	if (h->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE))
		return;
	name = message_text(h, sizeof(struct nfgenmsg), NFTA_TABLE_NAME);
	if (name)
		w->cb(LX_WATCH_TABLE_DELETED, name, w->arg);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct source *s = poll->data;
	union {
		struct nlmsghdr h;
		char bytes[RECEIVE_BYTES];
	} buf;

	for (;;) {
		struct sockaddr_nl from = { 0 };
		socklen_t from_len = sizeof(from);
		ssize_t n =
			recvfrom(s->fd, &buf, sizeof(buf), MSG_TRUNC, (struct sockaddr *)&from, &from_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) {
			s->watch->cb(LX_WATCH_LOST, NULL, s->watch->arg);
			continue;
		}
		if (n < 0)
			return;
		if (from.nl_pid != 0 || (size_t)n > sizeof(buf))
			continue; /* not from the kernel, or not whole */
		size_t left = (size_t)n;

		for (const struct nlmsghdr *h = &buf.h; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
			s->look(s->watch, h);
	}
}

/* ------------------------------------------------------------------ sockets */

static int open_socket(int protocol, uint32_t groups, int *ret)
{
	lx_autoclose int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = groups };
	int size = SOCKET_BYTES;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)); /* the default does as well */
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	*ret = lx_move_fd(fd);
	return 0;
}

static int open_source(struct lx_watch *w, struct source *s, uv_loop_t *loop, int protocol, uint32_t groups,
		       void (*look)(struct lx_watch *, const struct nlmsghdr *))
{
	int r = open_socket(protocol, groups, &s->fd);

	if (r < 0)
		return r;
	r = uv_poll_init(loop, &s->poll, s->fd);
	if (r < 0) {
		close(s->fd);
		return r;
	}
	s->watch = w;
	s->look = look;
	s->poll.data = s;
	w->open++;
	return uv_poll_start(&s->poll, UV_READABLE, on_readable);
}

int lx_watch_open(uv_loop_t *loop, lx_watch_cb cb, void *arg, struct lx_watch **ret, struct lx_err *err)
{
	struct lx_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return lx_err_oom(err);
	w->cb = cb;
	w->arg = arg;
	r = open_source(w, &w->route, loop, NETLINK_ROUTE,
			RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE, look_at_route);
	if (r < 0) {
		lx_watch_close(w, NULL, NULL);
		return lx_err_errno(err, r, "cannot watch the machine's interfaces and routes");
	}
	r = open_source(w, &w->netfilter, loop, NETLINK_NETFILTER, 1u << (NFNLGRP_NFTABLES - 1),
			look_at_netfilter);
	if (r < 0)
		lx_debug("cannot watch the machine's rules", "error=\"%s\"", strerror(-r));
	*ret = w;
	return 0;
}

void lx_watch_uplink(struct lx_watch *w, int ifindex)
{
	w->uplink = ifindex;
}

static void watch_free(struct lx_watch *w)
{
	void (*cb)(void *) = w->closed_cb;
	void *arg = w->closed_arg;

	free(w);
	if (cb)
		cb(arg);
}

static void on_closed(uv_handle_t *handle)
{
	struct source *s = handle->data;

	close(s->fd);
	if (--s->watch->open == 0)
		watch_free(s->watch);
}

void lx_watch_close(struct lx_watch *w, void (*cb)(void *arg), void *arg)
{
	struct source *sources[] = { &w->route, &w->netfilter };

	if (!w)
		return;
	w->closed_cb = cb;
	w->closed_arg = arg;
	if (w->open == 0) {
		watch_free(w);
		return;
	}
	for (size_t i = 0; i < LX_ARRAY_SIZE(sources); i++)
		if (sources[i]->watch)
			uv_close((uv_handle_t *)&sources[i]->poll, on_closed);
}
