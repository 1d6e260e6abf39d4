/* Ways to fail: no right to the namespace; no memory; the kernel refuses. */
#include "migration/sock_diag.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sock_diag.h>

#include "lib/cleanup.h"

/* Bytes taken from the kernel at once: it fills at most 32 KiB. */
#define ANSWER_MAX (64u * 1024)

#define CANNOT_ASK "cannot ask the kernel about its sockets"

int lx_sock_diag_open(int net, struct lx_err *err)
{
	lx_autoclose int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (own < 0)
		return lx_err_errno(err, errno, "cannot open the network namespace of this process");
	if (setns(net, CLONE_NEWNET) < 0)
		return lx_err_errno(err, errno, "cannot enter its network namespace");
	lx_autoclose int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	int saved = errno;

	if (setns(own, CLONE_NEWNET) < 0)
		return lx_err_errno(err, errno, "cannot return from its network namespace");
	if (fd < 0)
		return lx_err_errno(err, saved, "cannot ask the kernel about its sockets");
	return lx_move_fd(fd);
}

const void *lx_sock_diag_attribute(const struct nlmsghdr *h, size_t fixed, int type, size_t min, size_t *len)
{
	if (h->nlmsg_len < NLMSG_LENGTH(fixed))
		return NULL;

	const char *p = (const char *)h + NLMSG_HDRLEN + NLMSG_ALIGN(fixed);
	const char *end = (const char *)h + h->nlmsg_len;

	while (end - p >= (ptrdiff_t)sizeof(struct nlattr)) {
		struct nlattr a;

		memcpy(&a, p, sizeof(a));
		if (a.nla_len < sizeof(a) || a.nla_len > end - p)
			return NULL;
		if ((a.nla_type & NLA_TYPE_MASK) == type) {
			*len = a.nla_len - sizeof(a);
			return *len >= min ? p + sizeof(a) : NULL;
		}
		if (NLA_ALIGN(a.nla_len) > end - p)
			return NULL;
		p += NLA_ALIGN(a.nla_len);
	}
	return NULL;
}

/* 1: there is more to come. */
static int take(char *buf, size_t left, lx_sock_diag_fn each, void *arg, struct lx_err *err)
{
	for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *e = NLMSG_DATA(h);

			return e->error == -ENOENT ? 0 : lx_err_errno(err, e->error, CANNOT_ASK);
		}
		int r = each(arg, h, left, err);

		if (r < 0)
			return r;
	}
	return 1;
}

int lx_sock_diag_ask(int fd, void *req, size_t size, lx_sock_diag_fn each, void *arg, struct lx_err *err)
{
	lx_autofree char *buf = malloc(ANSWER_MAX);
	struct nlmsghdr *h = req;
	int r = 1;

	if (!buf)
		return lx_err_oom(err);
	*h = (struct nlmsghdr){ .nlmsg_len = (uint32_t)size,
				.nlmsg_type = SOCK_DIAG_BY_FAMILY,
				.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP };
	if (send(fd, req, size, 0) < 0)
		return lx_err_errno(err, errno, CANNOT_ASK);
	while (r > 0) {
		ssize_t got = recv(fd, buf, ANSWER_MAX, 0);

		if (got < 0 && errno == EINTR)
			continue;
		r = got < 0 ? lx_err_errno(err, errno, CANNOT_ASK) : take(buf, (size_t)got, each, arg, err);
	}
	return r;
}
