/*
 * What the files of this folder share: the context, its networks and its jobs.
 *
 * Everything that changes networks is a job in one queue: what the manager asks for, the load
 * at the start, a teardown, and a repair when the watch saw somebody change things. One job
 * runs at a time (apply.c), so no step ever meets another one half-way.
 */
#ifndef LX_AGENT_NETWORK_CONTEXT_H
#define LX_AGENT_NETWORK_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include <netlink/netlink.h>
#include <uv.h>

#include "agent/network/config.h"
#include "agent/network/dnsmasq.h"
#include "agent/network/leases.h"
#include "agent/network/network.h"
#include "agent/network/plan.h"
#include "agent/network/tunnel.h"
#include "agent/network/watch.h"
#include "lib/buf.h"
#include "lib/list.h"

struct lx_network {
	TAILQ_ENTRY(lx_network) entry;
	struct lx_network_ctx *ctx;
	char name[LX_NETWORK_NAME_MAX + 1];
	char *dir; /* run_dir/network/<name> */

	bool active; /* `config` holds: it is what this network runs with */
	struct lx_network_config config;
	struct lx_leases leases;
	struct lx_dnsmasq *dnsmasq;
	struct lx_moves moves;   /* what moved before the manager said so */
	struct lx_tunnel tunnel; /* its interfaces, while tunnel_id is not 0 */
	uint32_t tunnel_id;      /* the number they were made for */
	char *rules;             /* as last set; NULL: not, or not known */
	char *isolation;         /* the same of its projects; "": none are needed; NULL: not known */
	char *hint;              /* what another firewall does to it; NULL: nothing */

	/* The running job's view. */
	const Lxmgr__V1__NetworkSpec *spec; /* in ctx->wanted; NULL: to be removed */
	struct lx_network_config next;
	bool has_next;
	bool usable;     /* its bridge stands */
	bool rules_sent; /* `rules` is on its way to the kernel */
	bool reload;     /* dnsmasq has to read its files again */
	struct lx_err err;
};

TAILQ_HEAD(lx_network_list, lx_network);

enum lx_network_job_kind { LX_JOB_APPLY, LX_JOB_LOAD, LX_JOB_REPAIR, LX_JOB_TEARDOWN };

struct lx_network_job {
	TAILQ_ENTRY(lx_network_job) entry;
	enum lx_network_job_kind kind;
	Lxmgr__V1__ApplyNetworksRequest *req; /* APPLY; owned */
	lx_network_cb cb;                     /* APPLY, LOAD */
	lx_network_done_cb done;              /* TEARDOWN */
	void *arg;

	struct lx_err *refused; /* by index in ctx->wanted: specs that became no network at all */
	unsigned pending;       /* dnsmasqs still to answer */
	bool rules_changed;
	struct lx_err err; /* of the whole job */
};

TAILQ_HEAD(lx_network_jobs, lx_network_job);

struct lx_network_ctx {
	uv_loop_t *loop;
	char *state_dir;
	char *run_dir; /* the networks' own: <run_dir>/network */
	struct nl_sock *nl;
	struct nl_sock *netfilter;
	struct lx_map guards;  /* host end -> struct lx_guard * (guard.c) */
	struct lx_map refused; /* host end -> uint64_t *, frames dropped so far (guard_refused.c) */
	bool refused_known;    /* those from before we began are in there */
	int announce_fd;       /* -1: not needed yet */
	struct lx_watch *watch;

	Lxmgr__V1__ApplyNetworksRequest *wanted;  /* NULL: nothing was asked for yet */
	Lxmgr__V1__ApplyNetworksResponse *status; /* of the last job that made one */
	struct lx_network_list networks;

	struct lx_network_jobs jobs;
	struct lx_network_job *running;
	uv_timer_t kick;   /* starts the next job from the loop */
	uv_timer_t settle; /* collects what the watch sees into one repair */

	bool closing;
	unsigned open; /* handles and children still to be closed */
	void (*closed_cb)(void *arg);
	void *closed_arg;
};

/* context.c */
struct lx_network *lx_network_find(const struct lx_network_ctx *ctx, const char *name);
/* Finds or makes it. The name has been checked. */
int lx_network_get(struct lx_network_ctx *ctx, const char *name, struct lx_network **ret, struct lx_err *err);
/* Takes it off the list and frees it; its dnsmasq is no longer watched. */
void lx_network_drop(struct lx_network *n);
/* Keeps the first of several errors. */
void lx_network_note(struct lx_err *first, const struct lx_err *err);
/* The running job is over: the next one may start. */
void lx_network_job_over(struct lx_network_ctx *ctx);

/* guard.c: the network's guard table with its cards, for nft. 0 or -ENOMEM. */
int lx_guard_text(const struct lx_network *n, struct lx_buf *out);

/*
 * guard.c: an interface has changed. A guarded card's host end is set up as soon as it is seen in
 * its bridge: liblxc makes it anew, and late, when its guest reboots.
 */
void lx_guard_seen(struct lx_network_ctx *ctx, const char *host_name, bool plugged);

/* guard.c: whether a guarded card of that address is a port of its bridge now. */
bool lx_guard_is_plugged(const struct lx_network_ctx *ctx, const uint8_t hwaddr[LX_HWADDR_BYTES]);

/* decide.c: what each network of ctx->wanted shall be, and what not. */
void lx_network_decide(struct lx_network_ctx *ctx, struct lx_network_job *job);

/* apply.c: carries out ctx->running. */
void lx_network_run_job(struct lx_network_ctx *ctx);

#endif
