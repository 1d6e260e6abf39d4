/*
 * RTM_SETLINK of the bridge family (linux/if_bridge.h), a static entry in the bridge's table, the
 * queueing discipline (rate.c), and one ethtool request: with GRO a veth polls its own ring instead
 * of the CPU's backlog (NAPI).
 *
 * Ways to fail: the interface goes away in between (it is not there then); the kernel refuses.
 */
#include "agent/network/port.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <netlink/msg.h>
#include <netlink/route/link.h>

#include "agent/network/fdb.h"
#include "agent/network/nl.h"
#include "agent/network/rate.h"
#include "lib/cleanup.h"

static int set_flags(struct nl_sock *route, unsigned index, const struct lx_guard *g)
{
	struct ifinfomsg head = { .ifi_family = AF_BRIDGE, .ifi_index = (int)index };
	struct nl_msg *msg = nlmsg_alloc_simple(RTM_SETLINK, NLM_F_REQUEST);
	struct nlattr *info = NULL;
	/* Who may have any address is a switch of its own: only learning tells where frames go. */
	bool learns = g->options.free_mac;
	bool good = msg && nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO) == 0 &&
		    (info = nla_nest_start(msg, IFLA_PROTINFO | NLA_F_NESTED)) &&
		    nla_put_u8(msg, IFLA_BRPORT_LEARNING, learns) == 0 &&
		    nla_put_u8(msg, IFLA_BRPORT_UNICAST_FLOOD, learns) == 0 &&
		    nla_put_u8(msg, IFLA_BRPORT_ISOLATED, g->options.isolated) == 0;

	if (!good) {
		nlmsg_free(msg);
		return -NLE_NOMEM;
	}
	nla_nest_end(msg, info);
	return nl_send_sync(route, msg); /* frees it */
}

/* A driver without it (not a veth) has queues of its own. */
static void own_queue(const char *name)
{
	lx_autoclose int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_value gro = { .cmd = ETHTOOL_SGRO, .data = 1 };
	struct ifreq req = { .ifr_data = (void *)&gro };

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (fd >= 0)
		(void)ioctl(fd, SIOCETHTOOL, &req);
}

/* 0: there is no such interface, or it is in no bridge. */
static unsigned find_port(struct nl_sock *route, const char *name)
{
	struct rtnl_link *link = NULL;

	if (rtnl_link_get_kernel(route, 0, name, &link) < 0)
		return 0;
	int index = rtnl_link_get_master(link) != 0 ? rtnl_link_get_ifindex(link) : 0;

	rtnl_link_put(link);
	return (unsigned)index;
}

int lx_port_set(struct nl_sock *route, const struct lx_guard *g, struct lx_err *err)
{
	unsigned index = find_port(route, g->host_name);
	struct lx_fdb_entry own = { 0 };
	int r, nle;

	if (index == 0)
		return 1;
	/* First where its frames go, then that others do not. */
	memcpy(own.hwaddr, g->hwaddr, sizeof(own.hwaddr));
	r = lx_fdb_set(route, (int)index, &own, err);
	nle = r == 0 ? set_flags(route, index, g) : 0;
	if (nle < 0)
		r = lx_nl_err(err, nle, "cannot set up the network card %s of %s", g->host_name, g->instance);
	if (r == 0)
		r = lx_rate_set(route, (int)index, g->options.ingress, err);
	own_queue(g->host_name);
	return r < 0 && find_port(route, g->host_name) != index ? 1 : r;
}
