/*
 * Netlink in any network namespace: sockets that stay where they were opened, requests with
 * the kernel's own words when it refuses, dumps message by message. Messages are built with libnl.
 */
#ifndef LX_MIGRATION_NETLINK_H
#define LX_MIGRATION_NETLINK_H

#include <stdbool.h>
#include <sys/types.h>

#include <netlink/msg.h>
#include <netlink/netlink.h>

#include "lib/err.h"

/* The network namespace of a process, as a descriptor. */
int lx_netns_open(pid_t pid, int *ret, struct lx_err *err);
/*
 * This thread into another network namespace, and back. `ret_back` is what lx_netns_leave()
 * takes and closes. A thread that cannot come back must not go on: it aborts.
 */
int lx_netns_enter(int netns, int *ret_back, struct lx_err *err);
void lx_netns_leave(int back);

/* A socket in that namespace (-1: in this thread's own); the thread is where it was afterwards. */
int lx_netlink_open(int netns, int protocol, struct nl_sock **ret, struct lx_err *err);

/* Called for each message of an answer; borrowed. A negative errno ends it. */
typedef int (*lx_netlink_fn)(void *arg, struct nlmsghdr *h, struct lx_err *err);

/*
 * Sends a request and waits for its answer. 0, or the kernel's negative errno (-EEXIST ...) with
 * its words in `err`. The message stays the caller's.
 */
int lx_netlink_call(struct nl_sock *sock, struct nl_msg *msg, struct lx_err *err);
/* The same for requests that are answered by messages. */
int lx_netlink_query(struct nl_sock *sock, struct nl_msg *msg, lx_netlink_fn fn, void *arg,
		     struct lx_err *err);
/* The same for messages that are one after another in memory; only one of them asks for an answer. */
int lx_netlink_call_raw(struct nl_sock *sock, struct nlmsghdr *first, size_t len, struct lx_err *err);

/* All of a kind. `head` is what the request carries (struct ifinfomsg ...). */
int lx_netlink_dump(struct nl_sock *sock, int type, const void *head, size_t len, lx_netlink_fn fn, void *arg,
		    struct lx_err *err);

static inline void lx_cleanup_nl_sock(struct nl_sock **s)
{
	nl_socket_free(*s);
}

static inline void lx_cleanup_nl_msg(struct nl_msg **m)
{
	nlmsg_free(*m);
}

#define lx_autosock __attribute__((cleanup(lx_cleanup_nl_sock)))
#define lx_automsg  __attribute__((cleanup(lx_cleanup_nl_msg)))

#endif
