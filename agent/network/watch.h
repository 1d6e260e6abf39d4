/*
 * What others do to the networks, told by the kernel: the default route or its interface
 * changed, a bridge was deleted, a rule table was deleted (`nft flush ruleset` deletes all).
 */
#ifndef LX_AGENT_NETWORK_WATCH_H
#define LX_AGENT_NETWORK_WATCH_H

#include <uv.h>

#include "lib/err.h"

enum lx_watch_event {
	LX_WATCH_UPLINK,        /* the default route, or the interface given to lx_watch_uplink() */
	LX_WATCH_LINK_DELETED,  /* `name` is the interface's */
	LX_WATCH_LINK_PLUGGED,  /* `name` is an interface that is in a bridge, and something of it changed */
	LX_WATCH_LINK_LOOSE,    /* the same of one that is in none */
	LX_WATCH_TABLE_DELETED, /* `name` is the table's */
	LX_WATCH_LOST,          /* the kernel dropped notifications: anything may have changed */
};

typedef void (*lx_watch_cb)(enum lx_watch_event event, const char *name, void *arg);

struct lx_watch;

int lx_watch_open(uv_loop_t *loop, lx_watch_cb cb, void *arg, struct lx_watch **ret, struct lx_err *err);
void lx_watch_uplink(struct lx_watch *w, int ifindex);
/* `cb` fires when all is closed. NULL is fine (and cb is not called). */
void lx_watch_close(struct lx_watch *w, void (*cb)(void *arg), void *arg);

#endif
