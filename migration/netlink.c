/*
 * One request, one answer. A socket belongs for ever to the namespace it was opened in, so
 * only opening it needs a visit there.
 *
 * Happy path: open, then any number of calls and dumps. Ways to fail: the process is gone;
 * no right to enter; the kernel refuses (its extended words become the error's text); a dump
 * that was overtaken by changes is -EAGAIN.
 */
#include "migration/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "lib/log.h"

/* Dumps of thousands of routes come in many packets; the kernel waits for us, so this is ample. */
#define RECEIVE_BUFFER (1 << 20)

int lx_netns_open(pid_t pid, int *ret, struct lx_err *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return lx_err_errno(err, errno, "cannot open the network namespace of process %d", (int)pid);
	*ret = fd;
	return 0;
}

int lx_netns_enter(int netns, int *ret_back, struct lx_err *err)
{
	lx_autoclose int back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (back < 0)
		return lx_err_errno(err, errno, "cannot open the own network namespace");
	if (setns(netns, CLONE_NEWNET) < 0)
		return lx_err_errno(err, errno, "cannot enter the guest's network namespace");
	*ret_back = lx_move_fd(back);
	return 0;
}

void lx_netns_leave(int back)
{
	if (setns(back, CLONE_NEWNET) < 0) {
		lx_error("cannot return to the own network namespace", "error=%s", strerror(errno));
		abort();
	}
	close(back);
}

/* ------------------------------------------------------------------ sockets */

static int open_here(int protocol, struct nl_sock **ret, struct lx_err *err)
{
	lx_autosock struct nl_sock *sock = nl_socket_alloc();
	int on = 1, nle;

	if (!sock)
		return lx_err_oom(err);
	nle = nl_connect(sock, protocol);
	if (nle < 0)
		return lx_err_set(err, LX_INTERNAL, "cannot open a netlink socket: %s", nl_geterror(nle));
	nl_socket_set_buffer_size(sock, RECEIVE_BUFFER, 0);
	nl_socket_enable_msg_peek(sock);
	/* Both are comfort: words instead of numbers, and answers without an echo. */
	setsockopt(nl_socket_get_fd(sock), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(nl_socket_get_fd(sock), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	*ret = lx_move_ptr(sock);
	return 0;
}

int lx_netlink_open(int netns, int protocol, struct nl_sock **ret, struct lx_err *err)
{
	int back = -1, r;

	if (netns < 0)
		return open_here(protocol, ret, err);
	r = lx_netns_enter(netns, &back, err);
	if (r < 0)
		return r;
	r = open_here(protocol, ret, err);
	lx_netns_leave(back);
	return r;
}

/* ------------------------------------------------------------------ answers */

/* The kernel's own words, "" when it has none. */
static const char *words_of(struct nlmsghdr *h)
{
	struct nlattr *msg;

	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS) || !(h->nlmsg_flags & NLM_F_CAPPED))
		return "";
	msg = nlmsg_find_attr(h, sizeof(struct nlmsgerr), NLMSGERR_ATTR_MSG);
	if (!msg || nla_len(msg) < 1 || nla_get_string(msg)[nla_len(msg) - 1] != '\0')
		return "";
	return nla_get_string(msg);
}

static int answer_of(struct nlmsghdr *h, struct lx_err *err)
{
	const struct nlmsgerr *e = nlmsg_data(h);
	const char *words;

	if (!nlmsg_valid_hdr(h, sizeof(*e)))
		return lx_err_set(err, LX_INTERNAL, "the kernel's netlink answer is cut");
	if (e->error == 0)
		return 0;
	words = words_of(h);
	return lx_err_errno(err, e->error, "%s", *words ? words : "the kernel refuses");
}

/* One packet. *ret_done: the answer or the end of the dump was in it. */
static int receive(struct nl_sock *sock, uint32_t seq, lx_netlink_fn fn, void *arg, bool *ret_done,
		   struct lx_err *err)
{
	lx_autofree unsigned char *buf = NULL;
	struct sockaddr_nl from;
	int n = nl_recv(sock, &from, &buf, NULL), r = 0;

	if (n <= 0)
		return lx_err_set(err, LX_INTERNAL, "cannot read from netlink: %s",
				  n < 0 ? nl_geterror(n) : "end of file");
	for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)buf; nlmsg_ok(h, n) && r == 0 && !*ret_done;
	     h = nlmsg_next(h, &n)) {
		if (h->nlmsg_seq != seq)
			continue; /* of a dump that was given up */
		if (h->nlmsg_flags & NLM_F_DUMP_INTR)
			return lx_err_errno(err, EAGAIN, "it changed while it was read");
		*ret_done = h->nlmsg_type == NLMSG_ERROR || h->nlmsg_type == NLMSG_DONE;
		if (h->nlmsg_type == NLMSG_ERROR)
			r = answer_of(h, err);
		else if (h->nlmsg_type == NLMSG_DONE)
			r = nlmsg_datalen(h) >= (int)sizeof(int) && *(int *)nlmsg_data(h) < 0
				    ? lx_err_errno(err, *(int *)nlmsg_data(h), "the kernel refuses")
				    : 0;
		else if (fn)
			r = fn(arg, h, err);
	}
	return r;
}

static int converse(struct nl_sock *sock, uint32_t seq, lx_netlink_fn fn, void *arg, struct lx_err *err)
{
	bool done = false;
	int r = 0;

	while (r == 0 && !done)
		r = receive(sock, seq, fn, arg, &done, err);
	return r;
}

int lx_netlink_query(struct nl_sock *sock, struct nl_msg *msg, lx_netlink_fn fn, void *arg,
		     struct lx_err *err)
{
	int nle;

	nlmsg_hdr(msg)->nlmsg_flags |= NLM_F_ACK;
	nlmsg_hdr(msg)->nlmsg_seq = NL_AUTO_SEQ;
	nle = nl_send_auto(sock, msg);
	if (nle < 0)
		return lx_err_set(err, LX_INTERNAL, "cannot write to netlink: %s", nl_geterror(nle));
	return converse(sock, nlmsg_hdr(msg)->nlmsg_seq, fn, arg, err);
}

int lx_netlink_call(struct nl_sock *sock, struct nl_msg *msg, struct lx_err *err)
{
	return lx_netlink_query(sock, msg, NULL, NULL, err);
}

int lx_netlink_call_raw(struct nl_sock *sock, struct nlmsghdr *first, size_t len, struct lx_err *err)
{
	uint32_t seq = nl_socket_use_seq(sock);
	int left = (int)len, nle;

	for (struct nlmsghdr *h = first; nlmsg_ok(h, left); h = nlmsg_next(h, &left))
		h->nlmsg_seq = seq;
	nle = nl_sendto(sock, first, len);
	if (nle < 0)
		return lx_err_set(err, LX_INTERNAL, "cannot write to netlink: %s", nl_geterror(nle));
	return converse(sock, seq, NULL, NULL, err);
}

int lx_netlink_dump(struct nl_sock *sock, int type, const void *head, size_t len, lx_netlink_fn fn, void *arg,
		    struct lx_err *err)
{
	lx_automsg struct nl_msg *msg = nlmsg_alloc_simple(type, NLM_F_REQUEST | NLM_F_DUMP);
	int nle;

	if (!msg || nlmsg_append(msg, (void *)head, len, NLMSG_ALIGNTO) < 0)
		return lx_err_oom(err);
	nle = nl_send_auto(sock, msg);
	if (nle < 0)
		return lx_err_set(err, LX_INTERNAL, "cannot write to netlink: %s", nl_geterror(nle));
	return converse(sock, nlmsg_hdr(msg)->nlmsg_seq, fn, arg, err);
}
