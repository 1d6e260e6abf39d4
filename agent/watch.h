/*
 * Watch streams: a snapshot, then every change, at the pace of whoever watches. One that
 * cannot keep up is not queued for: it gets a new snapshot when it can take one.
 */
#ifndef LX_AGENT_WATCH_H
#define LX_AGENT_WATCH_H

#include "lib/list.h"
#include "lxmgr/v1/agent.pb-c.h"
#include "rpc/rpc.h"

struct lx_agent;
struct lx_instance;
struct lx_watcher;

struct lx_watch {
	TAILQ_HEAD(, lx_watcher) watchers;
};

void lx_watch_init(struct lx_watch *w);

/* The method. `arg`: struct lx_agent. */
void lx_watch_serve(struct lx_call *call, const ProtobufCMessage *req, void *arg);

/* To everyone who watches. */
void lx_watch_send(struct lx_agent *a, const Lxmgr__V1__AgentEvent *event);
void lx_watch_instance(struct lx_agent *a, const struct lx_instance *inst);
void lx_watch_instance_removed(struct lx_agent *a, const struct lx_instance *inst);
void lx_watch_image_added(struct lx_agent *a, Lxmgr__V1__Image *image);
void lx_watch_image_removed(struct lx_agent *a, const char *fingerprint);
void lx_watch_facts(struct lx_agent *a);

/* Whether somebody watches who can take an event now; then none is lost but with the connection. */
bool lx_watch_ready(const struct lx_agent *a);
/* How often somebody wants to hear of usage, in ms; 0: nobody watches. */
uint32_t lx_watch_usage_interval(const struct lx_agent *a);

#endif
