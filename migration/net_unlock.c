/*
 * Deleting a table takes its chains and rules along. One batch for each; CRIU makes one.
 *
 * Ways to fail: the process is gone; the kernel refuses. A table that vanishes meanwhile is fine.
 */
#include "migration/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/net_nft.h"
#include "migration/netlink.h"

/* Tables of one CRIU after another that was killed. */
#define TABLES_MAX 64

struct tables {
	size_t n;
	struct {
		uint8_t family;
		char name[64];
	} of[TABLES_MAX];
};

static int take_table(void *arg, struct nlmsghdr *h, struct lx_err *err)
{
	struct tables *t = arg;
	const struct nfgenmsg *m = nlmsg_data(h);
	struct nlattr *name = nlmsg_find_attr(h, sizeof(*m), NFTA_TABLE_NAME);
	char text[sizeof(t->of[0].name)];

	if (!name || nla_strlcpy(text, name, sizeof(text)) >= sizeof(text) ||
	    !lx_starts_with(text, LX_CRIU_TABLE_PREFIX) || t->n == TABLES_MAX)
		return 0;
	t->of[t->n].family = m->nfgen_family;
	memcpy(t->of[t->n++].name, text, sizeof(text));
	return 0;
}

/* Begin, delete, end: three messages one after another in `batch`. */
static int append(struct nl_msg *batch, int type, int flags, uint8_t family, uint16_t subsystem,
		  const char *table)
{
	lx_automsg struct nl_msg *msg = nlmsg_alloc_simple(type, NLM_F_REQUEST | flags);
	struct nfgenmsg m = { .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(subsystem) };

	if (!msg || nlmsg_append(msg, &m, sizeof(m), NLMSG_ALIGNTO) < 0 ||
	    (table && nla_put_string(msg, NFTA_TABLE_NAME, table) < 0))
		return -ENOMEM;
	return nlmsg_append(batch, nlmsg_hdr(msg), nlmsg_hdr(msg)->nlmsg_len, NLMSG_ALIGNTO);
}

static int delete_table(struct nl_sock *sock, uint8_t family, const char *name, struct lx_err *err)
{
	lx_automsg struct nl_msg *batch = nlmsg_alloc();
	struct lx_err why = LX_ERR_INIT;
	int r;

	if (!batch || append(batch, NFNL_MSG_BATCH_BEGIN, 0, 0, NFNL_SUBSYS_NFTABLES, NULL) < 0 ||
	    append(batch, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE, NLM_F_ACK, family, 0, name) < 0 ||
	    append(batch, NFNL_MSG_BATCH_END, 0, 0, NFNL_SUBSYS_NFTABLES, NULL) < 0)
		return lx_err_oom(err);
	r = lx_netlink_call_raw(sock, nlmsg_data(nlmsg_hdr(batch)), (size_t)nlmsg_datalen(nlmsg_hdr(batch)),
				&why);
	if (r == 0 || r == -ENOENT)
		return 0;
	if (err)
		*err = why;
	lx_err_wrap(err, "cannot remove packet filter table %s", name);
	return r;
}

int lx_net_unlock(pid_t pid, struct lx_err *err)
{
	lx_autosock struct nl_sock *sock = NULL;
	lx_autoclose int netns = -1;
	struct tables t = { 0 };
	int r = lx_netns_open(pid, &netns, err);

	if (r == 0)
		r = lx_netlink_open(netns, NETLINK_NETFILTER, &sock, err);
	if (r == 0)
		r = lx_nft_dump(sock, NFT_MSG_GETTABLE, take_table, &t, err);
	for (size_t i = 0; r == 0 && i < t.n; i++)
		r = delete_table(sock, t.of[i].family, t.of[i].name, err);
	if (r < 0)
		lx_err_wrap(err, "cannot unlock the instance's network");
	return r;
}
