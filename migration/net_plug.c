/*
 * One message for each card. A host end that is gone is none to cut off or to silence, but
 * cannot be plugged in.
 */
#include "migration/net.h"

#include <errno.h>

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "lib/str.h"
#include "migration/netlink.h"

enum change { PLUG, UNPLUG, SILENCE };

static int put(struct nl_msg *msg, const Lxmgr__V1__Nic *nic, enum change change, struct lx_err *err)
{
	struct ifinfomsg m = { .ifi_family = AF_UNSPEC };
	unsigned master = 0;

	if (change == PLUG && !lx_str_empty(nic->bridge)) {
		master = if_nametoindex(nic->bridge);
		if (master == 0) {
			int r = lx_err_errno(err, errno, "cannot find bridge %s", nic->bridge);

			lx_err_hint(err,
				    "Networks are made by the agent: see what lxmgr network show %s says.",
				    nic->network);
			return r;
		}
	}
	if (change != UNPLUG)
		m.ifi_change = IFF_UP;
	if (change == PLUG)
		m.ifi_flags = IFF_UP;
	if (nlmsg_append(msg, &m, sizeof(m), NLMSG_ALIGNTO) < 0 ||
	    nla_put_string(msg, IFLA_IFNAME, nic->host_name) < 0)
		return lx_err_oom(err);
	if (change == UNPLUG || master != 0)
		return nla_put_u32(msg, IFLA_MASTER, master) < 0 ? lx_err_oom(err) : 0;
	return 0;
}

static int change_one(struct nl_sock *sock, const Lxmgr__V1__Nic *nic, enum change change, struct lx_err *err)
{
	static const char *const what[] = { "plug in", "unplug", "silence" };
	lx_automsg struct nl_msg *msg = nlmsg_alloc_simple(RTM_NEWLINK, NLM_F_REQUEST);
	struct lx_err why = LX_ERR_INIT;
	int r;

	if (!msg)
		return lx_err_oom(err);
	r = put(msg, nic, change, err);
	if (r < 0)
		return r;
	r = lx_netlink_call(sock, msg, &why);
	if (r == 0 || (r == -ENODEV && change != PLUG))
		return 0;
	if (err)
		*err = why;
	lx_err_wrap(err, "cannot %s network card %s (%s)", what[change], nic->name, nic->host_name);
	return r;
}

/* All of them, also when one fails: the others must not stay as they were. The first error counts. */
static int change_all(size_t n_nics, Lxmgr__V1__Nic *const *nics, enum change change, struct lx_err *err)
{
	lx_autosock struct nl_sock *sock = NULL;
	int r = lx_netlink_open(-1, NETLINK_ROUTE, &sock, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n_nics; i++) {
		int s = change_one(sock, nics[i], change, r == 0 ? err : NULL);

		r = r == 0 ? s : r;
	}
	return r;
}

int lx_net_plug(size_t n_nics, Lxmgr__V1__Nic *const *nics, struct lx_err *err)
{
	return change_all(n_nics, nics, PLUG, err);
}

int lx_net_unplug(size_t n_nics, Lxmgr__V1__Nic *const *nics, struct lx_err *err)
{
	return change_all(n_nics, nics, UNPLUG, err);
}

int lx_net_silence(size_t n_nics, Lxmgr__V1__Nic *const *nics, struct lx_err *err)
{
	return change_all(n_nics, nics, SILENCE, err);
}
