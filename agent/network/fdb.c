/*
 * RTM_NEWNEIGH, RTM_DELNEIGH and RTM_GETNEIGH of the bridge family, made by hand: libnl-route
 * lists the bridge family's entries of all interfaces only.
 *
 * A change is a dump of one interface's entries and a message for each difference. Ways to
 * fail: the interface is gone; a destination of another family than the tunnel's.
 */
#include "agent/network/fdb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>

#include "agent/network/nl.h"
#include "lib/cleanup.h"
#include "lib/map.h"
#include "lib/str.h"

/* The kernel says so when interfaces came or went during a dump. */
#define DUMP_TRIES 10

static bool is_any(const uint8_t hwaddr[LX_HWADDR_BYTES])
{
	static const uint8_t zero[LX_HWADDR_BYTES];

	return memcmp(hwaddr, zero, LX_HWADDR_BYTES) == 0;
}

/* ------------------------------------------------------------------ one message */

/* Of the tunnel's own table, or the bridge's. `dst` may be NULL. */
static int change(struct nl_sock *sock, int type, int flags, int ifindex, bool tunnel,
		  const uint8_t hwaddr[LX_HWADDR_BYTES], const struct lx_subnet *dst)
{
	struct ndmsg head = {
		.ndm_family = AF_BRIDGE,
		.ndm_ifindex = ifindex,
		.ndm_flags = tunnel ? NTF_SELF : NTF_MASTER,
		/* What is permanent for a bridge is an address of its own. */
		.ndm_state = tunnel ? NUD_PERMANENT : NUD_NOARP,
	};
	struct nl_msg *msg = nlmsg_alloc_simple(type, NLM_F_REQUEST | flags);
	int nle = msg ? 0 : -NLE_NOMEM;

	if (nle == 0)
		nle = nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO);
	if (nle == 0)
		nle = nla_put(msg, NDA_LLADDR, LX_HWADDR_BYTES, hwaddr);
	if (nle == 0 && dst)
		nle = nla_put(msg, NDA_DST, (int)lx_subnet_bytes(dst->family), dst->addr);
	if (nle < 0) {
		nlmsg_free(msg);
		return nle;
	}
	return nl_send_sync(sock, msg); /* frees it */
}

int lx_fdb_set(struct nl_sock *sock, int ifindex, const struct lx_fdb_entry *entry, struct lx_err *err)
{
	bool tunnel = entry->dst.family != 0;
	int flags = NLM_F_CREATE | (is_any(entry->hwaddr) ? NLM_F_APPEND : NLM_F_REPLACE);
	char mac[LX_HWADDR_TEXT], dst[LX_SUBNET_TEXT];
	int nle = change(sock, RTM_NEWNEIGH, flags, ifindex, tunnel, entry->hwaddr,
			 tunnel ? &entry->dst : NULL);

	if (nle < 0)
		return lx_nl_err(err, nle, "cannot direct %s to %s", lx_hwaddr_format(entry->hwaddr, mac),
				 tunnel ? lx_subnet_format_host(&entry->dst, dst) : "the overlay");
	return 0;
}

static int unset(struct nl_sock *sock, int ifindex, bool tunnel, const uint8_t hwaddr[LX_HWADDR_BYTES],
		 const struct lx_subnet *dst, struct lx_err *err)
{
	char mac[LX_HWADDR_TEXT];
	int nle = change(sock, RTM_DELNEIGH, 0, ifindex, tunnel, hwaddr, dst);

	if (nle < 0 && !lx_nl_is_absent(nle))
		return lx_nl_err(err, nle, "cannot remove the direction to %s",
				 lx_hwaddr_format(hwaddr, mac));
	return 0;
}

int lx_fdb_forget(struct nl_sock *sock, int ifindex, const uint8_t hwaddr[LX_HWADDR_BYTES],
		  struct lx_err *err)
{
	int r = unset(sock, ifindex, true, hwaddr, NULL, err);

	return r < 0 ? r : unset(sock, ifindex, false, hwaddr, NULL, err);
}

/* ------------------------------------------------------------------ what is there */

#define KEY_TEXT (2 + LX_HWADDR_TEXT + LX_SUBNET_TEXT)

/* Of what there can be one: an address in either table, a destination of the rest. */
static char *entry_key(const struct lx_fdb_entry *e, char out[KEY_TEXT])
{
	char mac[LX_HWADDR_TEXT], dst[LX_SUBNET_TEXT] = "";

	if (is_any(e->hwaddr))
		lx_subnet_format_host(&e->dst, dst);
	snprintf(out, KEY_TEXT, "%c %s%s", e->dst.family ? 't' : 'b', lx_hwaddr_format(e->hwaddr, mac), dst);
	return out;
}

struct dump {
	int ifindex;
	struct lx_map have; /* key -> struct lx_fdb_entry * */
	bool oom;
};

static int on_entry(struct nl_msg *msg, void *arg)
{
	const struct nlmsghdr *h = nlmsg_hdr(msg);
	const struct ndmsg *head = nlmsg_data(h);
	struct nlattr *tb[NDA_MAX + 1];
	struct dump *d = arg;
	char key[KEY_TEXT];

	if (h->nlmsg_type != RTM_NEWNEIGH ||
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(*head), tb, NDA_MAX, NULL) < 0 ||
	    head->ndm_ifindex != d->ifindex || !tb[NDA_LLADDR] || nla_len(tb[NDA_LLADDR]) != LX_HWADDR_BYTES)
		return NL_OK;
	bool tunnel = head->ndm_flags & NTF_SELF;

	/* The bridge's: what is learned has other states, the port's own address is permanent. */
	if (tunnel ? !tb[NDA_DST] : head->ndm_state != NUD_NOARP)
		return NL_OK;
	struct lx_fdb_entry *e = calloc(1, sizeof(*e));

	if (!e) {
		d->oom = true;
		return NL_OK;
	}
	memcpy(e->hwaddr, nla_data(tb[NDA_LLADDR]), LX_HWADDR_BYTES);
	if (tunnel) {
		e->dst.family = nla_len(tb[NDA_DST]) == 4 ? AF_INET : AF_INET6;
		e->dst.prefix = lx_subnet_bits(e->dst.family);
		memcpy(e->dst.addr, nla_data(tb[NDA_DST]), lx_subnet_bytes(e->dst.family));
	}
	if (lx_map_set(&d->have, entry_key(e, key), e) < 0) {
		free(e);
		d->oom = true;
	}
	return NL_OK;
}

static int dump(struct nl_sock *sock, struct dump *d, struct lx_err *err)
{
	struct ndmsg head = { .ndm_family = AF_BRIDGE, .ndm_ifindex = d->ifindex };
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	int nle = -NLE_DUMP_INTR;

	if (!cb)
		return lx_err_oom(err);
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_entry, d);
	for (int tries = 0; tries < DUMP_TRIES && nle == -NLE_DUMP_INTR; tries++) {
		lx_map_release(&d->have);
		nle = nl_send_simple(sock, RTM_GETNEIGH, NLM_F_DUMP, &head, sizeof(head));
		if (nle >= 0)
			nle = nl_recvmsgs(sock, cb);
	}
	nl_cb_put(cb);
	if (nle < 0)
		return lx_nl_err(err, nle, "cannot list the directions of the overlay");
	return d->oom ? lx_err_oom(err) : 0;
}

/* ------------------------------------------------------------------ the difference */

int lx_fdb_sync(struct nl_sock *sock, int ifindex, const struct lx_fdb_entry *want, size_t n,
		struct lx_err *err)
{
	struct dump d = { .ifindex = ifindex };
	char key[KEY_TEXT];
	int r;

	lx_map_init(&d.have, free);
	r = dump(sock, &d, err);
	for (size_t i = 0; i < n && r == 0; i++) {
		const struct lx_fdb_entry *has = lx_map_get(&d.have, entry_key(&want[i], key));

		if (!has || !lx_subnet_equal(&has->dst, &want[i].dst))
			r = lx_fdb_set(sock, ifindex, &want[i], err);
		lx_map_del(&d.have, key);
	}
	for (struct lx_map_entry *e = lx_map_first(&d.have); e && r == 0; e = lx_map_next(e)) {
		const struct lx_fdb_entry *has = lx_map_value(e);

		r = unset(sock, ifindex, has->dst.family != 0, has->hwaddr,
			  is_any(has->hwaddr) ? &has->dst : NULL, err);
	}
	lx_map_release(&d.have);
	return r;
}
