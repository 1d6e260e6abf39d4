/*
 * Looks at the namespace while the guest runs, without a fork. What blocks would make
 * a guest that is not the same; what only gets lost is said as well.
 *
 *   link              an interface that is none of the instance's cards         blocks
 *   xfrm              IPsec states or policies                                  blocks
 *   iptables-legacy   rules outside nftables                                    blocks
 *   iptables-nft      rules that only iptables-nft can print and read           blocks
 *   qdisc             queueing disciplines set inside                           lost
 *
 * Happy path: nothing is found. Ways to fail: the process is gone; the callback ends it.
 */
#include "migration/net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/net_links.h"
#include "migration/net_nft.h"
#include "migration/netlink.h"

struct check {
	int (*fn)(void *arg, const Lxmgr__V1__MoveObstacle *o, struct lx_err *err);
	void *arg;
	pid_t pid;
	int netns;
	struct nl_sock *sock;
};

__attribute__((format(printf, 5, 6))) static int tell(const struct check *c, const char *code, bool blocks,
						      struct lx_err *err, const char *fmt, ...);

/* `fmt` makes "CAUSE\tCURE". */
static int tell(const struct check *c, const char *code, bool blocks, struct lx_err *err, const char *fmt,
		...)
{
	Lxmgr__V1__MoveObstacle o = LXMGR__V1__MOVE_OBSTACLE__INIT;
	char cause[512], *cure;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cause, sizeof(cause), fmt, ap);
	va_end(ap);
	cure = strchr(cause, '\t');
	if (cure)
		*cure++ = '\0';
	o.code = (char *)code;
	o.cause = cause;
	o.cure = cure ? cure : o.cure;
	o.blocks = blocks;
	return c->fn(c->arg, &o, err);
}

/* ------------------------------------------------------------------ links and their queues */

static int check_link(void *arg, const Lxmgr__V1__GuestLink *link, const Lxmgr__V1__Nic *nic,
		      struct lx_err *err)
{
	const char *kind = lx_str_empty(link->kind) ? "hardware" : link->kind;

	if (lx_net_link_carried(link, nic))
		return 0;
	return tell(arg, "link", true, err,
		    "interface %s (%s) inside is none of the instance's network cards\t"
		    "Remove it inside (ip link delete %s), and what makes it.",
		    link->name, kind, link->name);
}

struct queues {
	unsigned n;
	char kind[32];
};

/* Those that the kernel chose have no number. */
static int see_queue(void *arg, struct nlmsghdr *h, struct lx_err *err)
{
	const struct tcmsg *m = nlmsg_data(h);
	struct nlattr *kind = nlmsg_find_attr(h, sizeof(*m), TCA_KIND);
	struct queues *q = arg;

	if (h->nlmsg_type != RTM_NEWQDISC || !kind || m->tcm_handle == 0)
		return 0;
	if (q->n++ == 0)
		nla_strlcpy(q->kind, kind, sizeof(q->kind));
	return 0;
}

static int check_queues(const struct check *c, struct lx_err *err)
{
	struct tcmsg all = { .tcm_family = AF_UNSPEC };
	struct queues q = { 0 };
	int r = lx_netlink_dump(c->sock, RTM_GETQDISC, &all, sizeof(all), see_queue, &q, err);

	if (r < 0 || q.n == 0)
		return r;
	return tell(c, "qdisc", false, err,
		    "queueing disciplines set inside (%s%s) are not carried\tSet them again after the move.",
		    q.kind, q.n > 1 ? " ..." : "");
}

/* ------------------------------------------------------------------ IPsec */

static int see_any(void *arg, struct nlmsghdr *h, struct lx_err *err)
{
	*(bool *)arg = true;
	return 0;
}

/* A kernel without IPsec refuses the socket or the question: then there is none. */
static int check_xfrm(const struct check *c, struct lx_err *err)
{
	static const int questions[] = { XFRM_MSG_GETSA, XFRM_MSG_GETPOLICY };
	lx_autosock struct nl_sock *sock = NULL;
	bool found = false;

	if (lx_netlink_open(c->netns, NETLINK_XFRM, &sock, NULL) < 0)
		return 0;
	for (size_t i = 0; i < LX_ARRAY_SIZE(questions) && !found; i++)
		lx_netlink_dump(sock, questions[i], NULL, 0, see_any, &found, NULL);
	return found ? tell(c, "xfrm", true, err,
			    "there are IPsec states or policies inside\tStop the service that makes them.")
		     : 0;
}

/* ------------------------------------------------------------------ packet filters */

static int check_legacy(const struct check *c, struct lx_err *err)
{
	static const char *const files[] = { "ip_tables_names", "ip6_tables_names", "arp_tables_names" };
	static const char *const programs[] = { "iptables", "ip6tables", "arptables" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(files); i++) {
		char path[64], table[64];

		snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)c->pid, files[i]);
		if (lx_read_line(path, table, sizeof(table)) < 0 || lx_str_empty(table))
			continue;
		return tell(c, "iptables-legacy", true, err,
			    "%s-legacy was used inside (table %s)\tTranslate its rules to nftables "
			    "(iptables-restore-translate), and restart the instance.",
			    programs[i], table);
	}
	return 0;
}

static int check_xt(const struct check *c, struct lx_err *err)
{
	char table[64] = "";
	bool found = false;
	int r = lx_net_nft_has_xt(c->netns, &found, table, sizeof(table), err);

	if (r < 0 || !found)
		return r;
	return tell(
		c, "iptables-nft", true, err,
		"packet filter table %s inside has matches or targets of iptables, which nft cannot carry\t"
		"Translate its rules to nftables: iptables-save | iptables-restore-translate -f -",
		table);
}

/* ------------------------------------------------------------------ what the header promises */

int lx_net_check(pid_t pid, size_t n_nics, Lxmgr__V1__Nic *const *nics,
		 int (*fn)(void *arg, const Lxmgr__V1__MoveObstacle *o, struct lx_err *err), void *arg,
		 struct lx_err *err)
{
	lx_autosock struct nl_sock *sock = NULL;
	lx_autoclose int netns = -1;
	struct check c = { .fn = fn, .arg = arg, .pid = pid };
	int r = lx_netns_open(pid, &netns, err);

	if (r == 0)
		r = lx_netlink_open(netns, NETLINK_ROUTE, &sock, err);
	c.netns = netns;
	c.sock = sock;
	if (r == 0)
		r = lx_net_links(sock, n_nics, nics, check_link, &c, err);
	if (r == 0)
		r = check_queues(&c, err);
	if (r == 0)
		r = check_xfrm(&c, err);
	if (r == 0)
		r = check_legacy(&c, err);
	return r < 0 ? r : check_xt(&c, err);
}
