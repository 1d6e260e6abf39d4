/*
 * The networks of this machine: one managed bridge each, with addresses, forwarding and NAT
 * rules (nftables), and a dnsmasq that answers DHCP and DNS from the manager's leases. In a
 * cluster of several machines the bridges of one network are joined by VXLAN to one layer 2
 * (overlay.h), with the gateway, DHCP and DNS on every machine.
 *
 * Happy path: lx_network_open() at start, lx_network_load() brings back what the manager
 * last wanted (state_dir/networks.pb), so that containers find their bridge without a
 * manager; from then on every lx_network_apply() names the whole set of networks, and only
 * what differs is touched. A changed lease costs two small files, no process is restarted.
 *
 * Ways to fail: a request that cannot be kept on disk, or is beyond the limits, changes
 * nothing and is answered with an error. What is wrong with one network (a subnet that is in
 * use, a foreign interface of that name, a port taken by another DNS server) is in its
 * status and leaves the others alone. What breaks later is mended here: a dnsmasq that dies
 * is started again, rules flushed by others are put back, the MTU follows the uplink's.
 *
 * lx_network_close() leaves bridges, rules and dnsmasq in place: containers keep working
 * while the daemon is away, and the next one adopts them. lx_network_teardown() removes them.
 *
 * One thread (the loop's). Callbacks fire exactly once, never before the call that took
 * them has returned.
 */
#ifndef LX_AGENT_NETWORK_NETWORK_H
#define LX_AGENT_NETWORK_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "lib/err.h"
#include "lxmgr/v1/agent.pb-c.h"

struct lx_network_ctx;

/*
 * `status` names every network asked for: "" when it is up, else what is wrong; borrowed
 * until the callback returns. On failure of the whole request it is NULL and `err` is set.
 */
typedef void (*lx_network_cb)(const Lxmgr__V1__ApplyNetworksResponse *status, const struct lx_err *err,
			      void *arg);
/* `err` is NULL on success. */
typedef void (*lx_network_done_cb)(const struct lx_err *err, void *arg);

/*
 * Both directories are made when missing: state_dir keeps networks.pb, run_dir/network what
 * dnsmasq reads and writes. run_dir must be reachable for other users (0755 all the way):
 * dnsmasq does not stay root.
 */
int lx_network_open(uv_loop_t *loop, const char *state_dir, const char *run_dir, struct lx_network_ctx **ret,
		    struct lx_err *err);

/* Re-applies what was last kept; nothing kept is success with an empty status. */
int lx_network_load(struct lx_network_ctx *ctx, lx_network_cb cb, void *arg, struct lx_err *err);

/*
 * Makes the machine's networks what `req` says: networks it does not list are taken down.
 * The request is copied. Calls may overlap; they are carried out one after the other. An
 * older revision than the last one seen changes nothing and is answered with the present
 * status; the same revision again checks and repairs.
 */
int lx_network_apply(struct lx_network_ctx *ctx, const Lxmgr__V1__ApplyNetworksRequest *req, lx_network_cb cb,
		     void *arg, struct lx_err *err);

/*
 * Removes every bridge, rule and dnsmasq of ours, and forgets the networks in memory; the
 * file stays, so a later lx_network_load() brings them back. Works on a context that has
 * loaded nothing (a program that only cleans up).
 */
int lx_network_teardown(struct lx_network_ctx *ctx, lx_network_done_cb cb, void *arg, struct lx_err *err);

/*
 * Stops watching and frees the context; calls still waiting are answered with CANCELLED
 * before `cb` (may be NULL) fires. Networking stays up. NULL is fine (cb is not called then).
 */
void lx_network_close(struct lx_network_ctx *ctx, void (*cb)(void *arg), void *arg);

/*
 * An instance's network card is plugged in here now (it came from another node, or the move
 * away was undone): frames and packets for it stay on this machine at once, and the other nodes
 * are told by announcements in its name. Call it as soon as the instance is this node's, and again
 * when the card's host end is in the bridge and the instance runs. `hwaddr` as in its lease; ipv4
 * and ipv6 without prefix length, "" or NULL when it has none. At once; the manager's leases may
 * come later, and old ones that come in between do not undo it. Fine, and without effect, when
 * there are no other nodes. Fails with NOT_FOUND when this node has no such network.
 */
int lx_network_here(struct lx_network_ctx *ctx, const char *network, const char *hwaddr, const char *ipv4,
		    const char *ipv6, struct lx_err *err);

/*
 * It is at that node now: everything for it goes there. Call it when it has left (its host end
 * is out of the bridge): the manager's leases say the same, but later. When a move is undone
 * after lx_network_here(), the node that was to have it calls this with the old one, or it would
 * go on to take the card for its own until the manager says something new of it.
 * FAILED_PRECONDITION when the network does not reach that node.
 */
int lx_network_away(struct lx_network_ctx *ctx, const char *network, const char *hwaddr, const char *ipv4,
		    const char *ipv6, const char *node, struct lx_err *err);

/* What a card is freed of, and bounded to; {0}: every check, no bound. */
struct lx_network_port_options {
	bool free_mac, free_v4, free_v6; /* may have other source addresses than its own */
	bool isolated;                   /* does not reach others that are isolated too */
	uint64_t ingress, egress;        /* bytes a second to and from the guest; 0: as many as come */
	uint32_t priority;               /* of what it sends (skb->priority); 0: the kernel's own choice */
};

/* An instance's card as its network sees it. Texts are borrowed. */
struct lx_network_port {
	const char *network, *instance, *host_name, *hwaddr;
	const char *ipv4, *ipv6; /* without prefix length; "" or NULL for none */
	struct lx_network_port_options options;
};

/*
 * From now on the card may say what its addresses and options allow, and nothing else (guard.h).
 * Call it before its host end exists, and again when options change. Survives whatever happens
 * to the packet filter, until lx_network_unguard(). NOT_FOUND when this node has no such network,
 * FAILED_PRECONDITION when its packet filter is not in place: the card must not be used then.
 */
int lx_network_guard(struct lx_network_ctx *ctx, const struct lx_network_port *port, struct lx_err *err);
/*
 * The card's host end is in its bridge: what belongs to the interface itself is set (port.h). For
 * cards of lx_network_guard() only; others, and host ends that are not there, are left alone.
 */
int lx_network_plugged(struct lx_network_ctx *ctx, const char *host_name, struct lx_err *err);
/* Whether the card is one of lx_network_guard(). */
bool lx_network_guards(const struct lx_network_ctx *ctx, const char *host_name);
/* Calls `cb` for each guarded card that had frames dropped since the last time, with how many. */
typedef void (*lx_network_refused_cb)(const char *instance, const char *host_name, uint64_t frames,
				      void *arg);
void lx_network_refused(struct lx_network_ctx *ctx, lx_network_refused_cb cb, void *arg);
/* None of the instance's cards is there any more. NULL for ctx is fine. */
void lx_network_unguard(struct lx_network_ctx *ctx, const char *instance);
/* That one is not. Fine when it is none of lx_network_guard(), and with NULL for ctx. */
void lx_network_unguard_card(struct lx_network_ctx *ctx, const char *host_name);

/* The networks last asked for, in that order; names are borrowed until the loop runs again. */
size_t lx_network_count(const struct lx_network_ctx *ctx);
const char *lx_network_name(const struct lx_network_ctx *ctx, size_t i);

/* The bridge's present MTU, for the guests' ends; 0 when there is no such network or it is not up. */
uint32_t lx_network_mtu(const struct lx_network_ctx *ctx, const char *name);

#endif
