/*
 * How many frames of a card its guard has dropped: elements of the set `refused`, which the
 * packet filter adds by itself (guard_table.c). One dump a network; the kernel answers at once.
 *
 * A card's number is remembered until the card is gone, and goes then. What there is at the first
 * look was counted before the agent began.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/msg.h>

#include "agent/network/context.h"
#include "agent/network/guard.h"
#include "lib/cleanup.h"
#include "lib/log.h"

#define DUMP_MAX      (1 << 20)
#define TYPE(message) (NFNL_SUBSYS_NFTABLES << 8 | (message))

struct look {
	struct lx_network_ctx *ctx;
	lx_network_refused_cb cb;
	void *arg;
	bool silent;
};

/* The counter among an element's expressions. */
static bool packets(struct nlattr *expression, uint64_t *ret)
{
	struct nlattr *e[NFTA_EXPR_MAX + 1], *c[NFTA_COUNTER_MAX + 1];
	uint64_t be;

	if (!expression || nla_parse_nested(e, NFTA_EXPR_MAX, expression, NULL) < 0 || !e[NFTA_EXPR_NAME] ||
	    !e[NFTA_EXPR_DATA] || strncmp(nla_data(e[NFTA_EXPR_NAME]), "counter", sizeof("counter")) != 0 ||
	    nla_parse_nested(c, NFTA_COUNTER_MAX, e[NFTA_EXPR_DATA], NULL) < 0 || !c[NFTA_COUNTER_PACKETS] ||
	    nla_len(c[NFTA_COUNTER_PACKETS]) < (int)sizeof(be))
		return false;
	memcpy(&be, nla_data(c[NFTA_COUNTER_PACKETS]), sizeof(be));
	*ret = be64toh(be);
	return true;
}

static void compare(struct look *l, const char *card, uint64_t now)
{
	const struct lx_guard *g = lx_map_get(&l->ctx->guards, card);
	uint64_t *seen = lx_map_get(&l->ctx->refused, card);

	if (!seen) {
		seen = calloc(1, sizeof(*seen));
		if (!seen || lx_map_set(&l->ctx->refused, card, seen) < 0) {
			free(seen);
			return;
		}
	}
	/* Less than before: the table was made anew. */
	uint64_t more = now >= *seen ? now - *seen : now;

	*seen = now;
	if (more > 0 && g && !l->silent)
		l->cb(g->instance, card, more, l->arg);
}

static void element(struct look *l, struct nlattr *attr)
{
	struct nlattr *e[NFTA_SET_ELEM_MAX + 1], *k[NFTA_DATA_MAX + 1];
	char card[IFNAMSIZ];
	uint64_t count;

	if (nla_parse_nested(e, NFTA_SET_ELEM_MAX, attr, NULL) < 0 || !e[NFTA_SET_ELEM_KEY] ||
	    nla_parse_nested(k, NFTA_DATA_MAX, e[NFTA_SET_ELEM_KEY], NULL) < 0 || !k[NFTA_DATA_VALUE] ||
	    nla_len(k[NFTA_DATA_VALUE]) < IFNAMSIZ || !packets(e[NFTA_SET_ELEM_EXPR], &count))
		return;
	memcpy(card, nla_data(k[NFTA_DATA_VALUE]), sizeof(card));
	card[sizeof(card) - 1] = '\0';
	compare(l, card, count);
}

static int on_elements(struct nl_msg *msg, void *arg)
{
	struct nlattr *a[NFTA_SET_ELEM_LIST_MAX + 1], *e;
	int left;

	if (nlmsg_parse(nlmsg_hdr(msg), sizeof(struct nfgenmsg), a, NFTA_SET_ELEM_LIST_MAX, NULL) < 0 ||
	    !a[NFTA_SET_ELEM_LIST_ELEMENTS])
		return NL_OK;
	nla_for_each_nested(e, a[NFTA_SET_ELEM_LIST_ELEMENTS], left) element(arg, e);
	return NL_OK;
}

static int ask(struct nl_sock *sock, const char *network)
{
	struct nfgenmsg head = { .nfgen_family = NFPROTO_BRIDGE, .version = NFNETLINK_V0 };
	char table[sizeof(LX_GUARD_TABLE_PREFIX) + LX_NETWORK_NAME_MAX];
	struct nl_msg *msg = nlmsg_alloc_simple(TYPE(NFT_MSG_GETSETELEM), NLM_F_DUMP);
	int r = msg ? 0 : -ENOMEM;

	snprintf(table, sizeof(table), LX_GUARD_TABLE_PREFIX "%s", network);
	if (r == 0 && (nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO) < 0 ||
		       nla_put_string(msg, NFTA_SET_ELEM_LIST_TABLE, table) < 0 ||
		       nla_put_string(msg, NFTA_SET_ELEM_LIST_SET, LX_GUARD_REFUSED) < 0))
		r = -ENOMEM;
	if (r == 0)
		r = nl_send_auto(sock, msg) < 0 ? -EIO : 0;
	nlmsg_free(msg);
	return r;
}

static int dump(struct nl_sock *sock, const char *network, struct look *l)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	int r = cb ? ask(sock, network) : -ENOMEM;

	if (r == 0) {
		nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_elements, l);
		r = nl_recvmsgs(sock, cb);
	}
	nl_cb_put(cb);
	return r;
}

/* A socket of its own: answers that come late must not be taken for another's. */
static struct nl_sock *connect_netfilter(void)
{
	struct nl_sock *sock = nl_socket_alloc();

	if (sock && nl_connect(sock, NETLINK_NETFILTER) < 0) {
		nl_socket_free(sock);
		return NULL;
	}
	return sock;
}

void lx_network_refused(struct lx_network_ctx *ctx, lx_network_refused_cb cb, void *arg)
{
	struct look l = { .ctx = ctx, .cb = cb, .arg = arg, .silent = !ctx->refused_known };
	struct lx_network *n;
	struct nl_sock *sock = TAILQ_EMPTY(&ctx->networks) ? NULL : connect_netfilter();

	if (!sock)
		return;
	TAILQ_FOREACH (n, &ctx->networks, entry) {
		int r = n->active ? dump(sock, n->name, &l) : 0;

		if (r < 0)
			lx_debug("what a guard has dropped cannot be read", "network=%s error=%d", n->name,
				 r);
	}
	ctx->refused_known = true;
	nl_socket_free(sock);
}
