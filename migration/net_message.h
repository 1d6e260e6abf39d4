/*
 * Addresses, routes, rules and neighbours as rtnetlink messages: which of a dump are carried,
 * and what the request looks like that makes one anew. Pure.
 */
#ifndef LX_MIGRATION_NET_MESSAGE_H
#define LX_MIGRATION_NET_MESSAGE_H

#include <stdbool.h>

#include <netlink/msg.h>
#include <protobuf-c/protobuf-c.h>

#include "lib/err.h"

/* Bytes of one message. */
#define LX_NET_MESSAGE_MAX (64u * 1024)
/* Messages of a kind. */
#define LX_NET_MESSAGES_MAX (1u << 20)

/*
 * Whether a message of a dump is something that a new namespace does not get by itself: no
 * routes of the local table that the kernel made, no learned neighbours, nothing malformed.
 */
bool lx_net_message_wanted(struct nlmsghdr *h);
/* A neighbour that was learned, and answered when last asked. */
bool lx_net_message_learned(struct nlmsghdr *h);
/* Routes through gateways (1) come after those that lead to the gateways (0). */
unsigned lx_net_message_rank(struct nlmsghdr *h);

/*
 * The request that makes it anew; *ret is freed by nlmsg_free(). A learned neighbour is one that
 * has to be confirmed when it is used. INVALID_ARGUMENT for what is no message of type `type`.
 */
int lx_net_message_request(const ProtobufCBinaryData *data, int type, struct nl_msg **ret,
			   struct lx_err *err);

/* For people: "IPv4 route", "IPv6 address" ... */
const char *lx_net_message_name(const struct nlmsghdr *h);

#endif
