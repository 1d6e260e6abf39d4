/*
 * Elements of guard tables, by netlink: nf_tables takes several messages between a "begin" and an
 * "end" as one transaction (linux/netfilter/nfnetlink.h, nf_tables.h). No program is started: this
 * is on the way of every start and move.
 *
 * Happy path: begin, messages, end in one send; the kernel's acknowledgement of the last one says
 * that all of it holds. Ways to fail: the table is not there (-ENOENT), no permission, an answer
 * that does not come. Then nothing of it holds.
 */
#include <errno.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/msg.h>

#include "agent/network/guard.h"
#include "lib/cleanup.h"

#define WHOLE(bytes)  (((bytes) + 3) / 4 * 4) /* each part of a key begins at a whole register */
#define KEY_MAX       (IFNAMSIZ + WHOLE(LX_HWADDR_BYTES) + 16)
#define MESSAGE_MAX   512
#define ANSWER_MS     5000
#define SEND_BYTES    (16 << 20)
#define TYPE(message) (NFNL_SUBSYS_NFTABLES << 8 | (message))

/* A transaction being put together. */
struct batch {
	struct lx_buf data;
	uint32_t seq; /* of the begin; the last message has the next one */
	size_t last;  /* where the last message begins */
	int r;        /* -ENOMEM: nothing more is added */
};

/* ------------------------------------------------------------------ messages */

static struct nl_msg *message(int type, int flags, uint8_t family, uint16_t resource, const char *network)
{
	struct nfgenmsg head = { .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource) };
	char table[sizeof(LX_GUARD_TABLE_PREFIX) + LX_NETWORK_NAME_MAX];
	struct nl_msg *msg = nlmsg_alloc_size(MESSAGE_MAX);

	if (!msg || !nlmsg_put(msg, 0, 0, type, 0, NLM_F_REQUEST | flags) ||
	    nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO) < 0) {
		nlmsg_free(msg);
		return NULL;
	}
	snprintf(table, sizeof(table), LX_GUARD_TABLE_PREFIX "%s", network);
	/* All kinds of messages have the table's name as their first attribute. */
	if (*network && nla_put_string(msg, NFTA_SET_ELEM_LIST_TABLE, table) < 0) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

/* Takes the message, NULL too. */
static void add(struct batch *b, struct nl_msg *msg, bool good)
{
	if (!msg || !good)
		b->r = -ENOMEM;
	if (b->r == 0) {
		struct nlmsghdr *h = nlmsg_hdr(msg);

		h->nlmsg_seq = b->seq;
		b->last = b->data.len;
		b->r = lx_buf_append(&b->data, h, h->nlmsg_len);
	}
	nlmsg_free(msg);
}

static void border(struct batch *b, int type)
{
	struct nl_msg *msg = message(type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, "");

	add(b, msg, true);
}

/* What a map has for an element; both NULL: it is one of a set. */
struct mapped {
	const char *object;
	const uint32_t *number;
};

static bool put_value(struct nl_msg *msg, int attr, const void *value, size_t len)
{
	struct nlattr *nest = nla_nest_start(msg, attr | NLA_F_NESTED);

	if (!nest || nla_put(msg, NFTA_DATA_VALUE, (int)len, value) < 0)
		return false;
	nla_nest_end(msg, nest);
	return true;
}

static void any_element(struct batch *b, int type, uint8_t family, const struct lx_guard *g, const char *set,
			const void *key, size_t len, struct mapped to)
{
	int flags = type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0;
	struct nl_msg *msg = message(TYPE(type), flags, family, 0, g->network);
	struct nlattr *list = NULL, *one = NULL;
	bool good = msg && nla_put_string(msg, NFTA_SET_ELEM_LIST_SET, set) == 0 &&
		    (list = nla_nest_start(msg, NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED)) &&
		    (one = nla_nest_start(msg, NFTA_LIST_ELEM | NLA_F_NESTED)) &&
		    put_value(msg, NFTA_SET_ELEM_KEY, key, len) &&
		    (!to.object || nla_put_string(msg, NFTA_SET_ELEM_OBJREF, to.object) == 0) &&
		    (!to.number || put_value(msg, NFTA_SET_ELEM_DATA, to.number, sizeof(*to.number)));

	if (good) {
		nla_nest_end(msg, one);
		nla_nest_end(msg, list);
	}
	add(b, msg, good);
}

/* One of the card's host end, and of `value` besides. */
static void element_to(struct batch *b, int type, const struct lx_guard *g, const char *set,
		       const void *value, size_t len, struct mapped to)
{
	uint8_t key[KEY_MAX] = { 0 };

	memcpy(key, g->host_name, strnlen(g->host_name, IFNAMSIZ - 1));
	if (len > 0)
		memcpy(key + IFNAMSIZ, value, len);
	any_element(b, type, NFPROTO_BRIDGE, g, set, key, IFNAMSIZ + WHOLE(len), to);
}

static void element(struct batch *b, int type, const struct lx_guard *g, const char *set, const void *value,
		    size_t len)
{
	element_to(b, type, g, set, value, len, (struct mapped){ 0 });
}

static int put_be64(struct nl_msg *msg, int type, uint64_t v)
{
	return nla_put_u64(msg, type, htobe64(v));
}

static void limit(struct batch *b, int type, const struct lx_guard *g)
{
	struct nl_msg *msg =
		message(TYPE(type), type == NFT_MSG_NEWOBJ ? NLM_F_CREATE : 0, NFPROTO_BRIDGE, 0, g->network);
	char name[LX_GUARD_OBJECT_MAX];
	uint64_t rate = g->options.egress;
	struct nlattr *data = NULL;
	bool good = msg && nla_put_string(msg, NFTA_OBJ_NAME, lx_guard_limit_name(g, name)) == 0 &&
		    nla_put_u32(msg, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_LIMIT)) == 0 &&
		    (data = nla_nest_start(msg, NFTA_OBJ_DATA | NLA_F_NESTED)) &&
		    put_be64(msg, NFTA_LIMIT_RATE, rate) == 0 && put_be64(msg, NFTA_LIMIT_UNIT, 1) == 0 &&
		    nla_put_u32(msg, NFTA_LIMIT_BURST, htonl(LX_GUARD_BURST)) == 0 &&
		    nla_put_u32(msg, NFTA_LIMIT_TYPE, htonl(NFT_LIMIT_PKT_BYTES)) == 0 &&
		    nla_put_u32(msg, NFTA_LIMIT_FLAGS, htonl(NFT_LIMIT_F_INV)) == 0;

	if (good)
		nla_nest_end(msg, data);
	add(b, msg, good);
}

/* ------------------------------------------------------------------ cards */

static void own(struct batch *b, int type, const struct lx_guard *g, const char *set,
		const struct lx_subnet *a)
{
	uint8_t both[WHOLE(LX_HWADDR_BYTES) + 16] = { 0 };
	size_t bytes = lx_subnet_bytes(a->family);

	if (!lx_guard_is_plain(g, a->family))
		return;
	memcpy(both, g->hwaddr, LX_HWADDR_BYTES);
	memcpy(both + WHOLE(LX_HWADDR_BYTES), a->addr, bytes);
	element(b, type, g, set, both, WHOLE(LX_HWADDR_BYTES) + bytes);
}

static void addresses(struct batch *b, int type, const struct lx_guard *g)
{
	element(b, type, g, "macs", g->hwaddr, sizeof(g->hwaddr));
	if (g->v4.family != 0) {
		element(b, type, g, "v4", g->v4.addr, 4);
		own(b, type, g, "own4", &g->v4);
	}
	for (size_t i = 0; i < 2; i++) {
		if (g->v6[i].family == 0)
			continue;
		element(b, type, g, "v6", g->v6[i].addr, 16);
		element(b, type, g, "nd", g->v6[i].addr, 16);
		own(b, type, g, "own6", &g->v6[i]);
	}
	if (g->options.free_mac)
		element(b, type, g, "free_mac", NULL, 0);
	if (g->options.free_v4)
		element(b, type, g, "free_v4", NULL, 0);
	if (g->options.free_v6)
		element(b, type, g, "free_v6", NULL, 0);
}

static void priority(struct batch *b, int type, const struct lx_guard *g)
{
	struct mapped to = { .number = type == NFT_MSG_NEWSETELEM ? &g->options.priority : NULL };

	element_to(b, type, g, LX_GUARD_PRIORITY, NULL, 0, to);
	if (g->v4.family != 0)
		any_element(b, type, NFPROTO_IPV4, g, LX_GUARD_PRIORITY, g->v4.addr, 4, to);
}

static void put_card(struct batch *b, const struct lx_guard *g)
{
	char name[LX_GUARD_OBJECT_MAX];

	addresses(b, NFT_MSG_NEWSETELEM, g);
	if (g->options.egress != 0) {
		limit(b, NFT_MSG_NEWOBJ, g);
		element_to(b, NFT_MSG_NEWSETELEM, g, "egress", NULL, 0,
			   (struct mapped){ .object = lx_guard_limit_name(g, name) });
	}
	if (g->options.priority != 0)
		priority(b, NFT_MSG_NEWSETELEM, g);
	element(b, NFT_MSG_NEWSETELEM, g, "ports", NULL, 0);
}

/* `kept` is the limit that goes on to be used. */
static void take_card(struct batch *b, const struct lx_guard *g, uint64_t kept)
{
	element(b, NFT_MSG_DELSETELEM, g, "ports", NULL, 0);
	if (g->options.priority != 0)
		priority(b, NFT_MSG_DELSETELEM, g);
	if (g->options.egress != 0)
		element(b, NFT_MSG_DELSETELEM, g, "egress", NULL, 0);
	if (g->options.egress != 0 && g->options.egress != kept)
		limit(b, NFT_MSG_DELOBJ, g);
	addresses(b, NFT_MSG_DELSETELEM, g);
}

/* ------------------------------------------------------------------ the kernel's answer */

/* 1: that was all; 0: more is to come. The first refusal is in *refused. */
static int look(const struct batch *b, struct nlmsghdr *h, int left, int *refused)
{
	for (; nlmsg_ok(h, left); h = nlmsg_next(h, &left)) {
		const struct nlmsgerr *e = nlmsg_data(h);

		if (h->nlmsg_type != NLMSG_ERROR || !nlmsg_valid_hdr(h, sizeof(*e)))
			continue;
		if (e->msg.nlmsg_seq != b->seq && e->msg.nlmsg_seq != b->seq + 1)
			continue; /* of one whose answer came too late */
		if (e->error < 0 && *refused == 0)
			*refused = e->error;
		if (e->msg.nlmsg_seq == b->seq + 1 || e->msg.nlmsg_type == NFNL_MSG_BATCH_BEGIN)
			return 1;
	}
	return 0;
}

static int answer(struct nl_sock *sock, const struct batch *b)
{
	struct timeval patience = { .tv_sec = ANSWER_MS / 1000 };
	int refused = 0, done = 0;

	(void)setsockopt(nl_socket_get_fd(sock), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (!done) {
		union {
			struct nlmsghdr head;
			char bytes[16384];
		} in;
		ssize_t n = recv(nl_socket_get_fd(sock), &in, sizeof(in), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return refused ? refused : n < 0 && errno != EAGAIN ? -errno : -ETIMEDOUT;
		done = look(b, &in.head, (int)n, &refused);
	}
	return refused;
}

static int commit(struct nl_sock *sock, struct batch *b)
{
	int bytes = SEND_BYTES;
	struct nlmsghdr *last;

	if (b->r < 0)
		return b->r;
	last = (struct nlmsghdr *)(void *)(b->data.data + b->last);
	last->nlmsg_flags |= NLM_F_ACK;
	last->nlmsg_seq = b->seq + 1;
	border(b, NFNL_MSG_BATCH_END);
	if (b->r < 0)
		return b->r;
	(void)setsockopt(nl_socket_get_fd(sock), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	if (nl_sendto(sock, b->data.data, b->data.len) < 0)
		return -EIO;
	return answer(sock, b);
}

static void begin(struct batch *b)
{
	/* The loop is one thread; two numbers a transaction. */
	static uint32_t seq;

	seq += 2;
	*b = (struct batch){ .seq = seq };
	border(b, NFNL_MSG_BATCH_BEGIN);
}

static int end(struct nl_sock *sock, struct batch *b, const char *network, struct lx_err *err)
{
	int r = commit(sock, b);

	lx_buf_release(&b->data);
	return r < 0 ? lx_err_errno(err, r, "cannot set the packet filter of network %s", network) : 0;
}

int lx_guard_change(struct nl_sock *netfilter, const struct lx_guard *was, const struct lx_guard *now,
		    struct lx_err *err)
{
	struct batch b;

	begin(&b);
	if (was)
		take_card(&b, was, now ? now->options.egress : 0);
	if (now)
		put_card(&b, now);
	return end(netfilter, &b, now ? now->network : was->network, err);
}

void lx_guard_forget_refused(struct nl_sock *netfilter, const struct lx_guard *g)
{
	struct batch b;

	begin(&b);
	element(&b, NFT_MSG_DELSETELEM, g, LX_GUARD_REFUSED, NULL, 0);
	(void)end(netfilter, &b, g->network, NULL);
}
