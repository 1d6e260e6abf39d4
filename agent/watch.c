/*
 * Watch streams.
 *
 *      CURRENT ---- its queue is full ----> FULL ---- an event passes by ----> BEHIND
 *         ^                                  |                                   |
 *         +----------- writable -------------+------ writable: a snapshot -------+
 *
 * The snapshot holds what the missed events would have told. An event is packed once,
 * however many watch. A heartbeat goes out only when nothing else did for the interval the
 * watcher asked for.
 */
#include "agent/watch.h"

#include <stdlib.h>

#include "agent/agent.h"
#include "agent/denial/denials.h"
#include "agent/instance/instance.h"
#include "agent/instance/usage.h"
#include "agent/loop.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "proto/pb.h"

/* What a watcher may ask for. */
#define HEARTBEAT_DEFAULT_MS 5000u
#define HEARTBEAT_MIN_MS     200u
#define HEARTBEAT_MAX_MS     60000u
#define USAGE_DEFAULT_MS     5000u
#define USAGE_MIN_MS         200u
#define USAGE_MAX_MS         600000u

struct lx_watcher {
	TAILQ_ENTRY(lx_watcher) link;
	struct lx_agent *agent;
	struct lx_call *call;
	struct lx_timer *heartbeat;
	uint32_t usage_ms;
	bool full;
	bool behind;
	bool spoke; /* since the last tick of the heartbeat */
};

static uint32_t clamp(uint32_t value, uint32_t def, uint32_t min, uint32_t max)
{
	if (value == 0)
		return def;
	return value < min ? min : value > max ? max : value;
}

static void send_bytes(struct lx_watcher *w, struct lx_bytes bytes)
{
	if (w->full) {
		w->behind = true;
		return;
	}
	w->spoke = true;
	w->full = lx_call_send_bytes(w->call, bytes) != 0; /* or it has ended: then `closed` follows */
}

static void send_event(struct lx_watcher *w, const Lxmgr__V1__AgentEvent *event)
{
	size_t len;
	uint8_t *data = lx_pb_pack(&event->base, &len);

	/* Out of memory: what is missed now comes with the next snapshot. */
	if (!data) {
		lx_call_cancel(w->call);
		return;
	}
	send_bytes(w, (struct lx_bytes){ .data = data, .len = len });
	free(data);
}

/* ------------------------------------------------------------------ the snapshot */

struct snapshot {
	Lxmgr__V1__AgentSnapshot pb;
	struct lx_report *reports;
	Lxmgr__V1__InstanceReport **instances;
	Lxmgr__V1__Image **images;
	char **networks;
};

static void snapshot_release(struct snapshot *s)
{
	free(s->reports);
	free(s->instances);
	free(s->images);
	free(s->networks);
}

/* Pointers into what the agent has: good until the loop goes on. */
static int snapshot_fill(struct lx_agent *a, struct snapshot *s)
{
	size_t n_instances = lx_map_count(&a->instances), n_images = lx_map_count(&a->images);
	size_t n_networks = lx_network_count(a->network), n = 0;

	lxmgr__v1__agent_snapshot__init(&s->pb);
	s->reports = calloc(n_instances + 1, sizeof(*s->reports));
	s->instances = calloc(n_instances + 1, sizeof(*s->instances));
	s->images = calloc(n_images + 1, sizeof(*s->images));
	s->networks = calloc(n_networks + 1, sizeof(*s->networks));
	if (!s->reports || !s->instances || !s->images || !s->networks)
		return -ENOMEM;
	for (struct lx_map_entry *e = lx_map_first(&a->instances); e; e = lx_map_next(e), n++) {
		lx_instance_report(lx_map_value(e), &s->reports[n]);
		s->instances[n] = &s->reports[n].pb;
	}
	n = 0;
	for (struct lx_map_entry *e = lx_map_first(&a->images); e; e = lx_map_next(e))
		s->images[n++] = lx_map_value(e);
	for (size_t i = 0; i < n_networks; i++)
		s->networks[i] = (char *)(uintptr_t)lx_network_name(a->network, i);
	s->pb.node = a->node;
	s->pb.facts = (Lxmgr__V1__NodeFacts *)(uintptr_t)lx_facts_get(a->facts);
	s->pb.n_instances = n_instances;
	s->pb.instances = s->instances;
	s->pb.n_images = n_images;
	s->pb.images = s->images;
	s->pb.n_networks = n_networks;
	s->pb.networks = s->networks;
	return 0;
}

static void send_snapshot(struct lx_watcher *w)
{
	struct snapshot s = { 0 };
	Lxmgr__V1__AgentEvent event = LXMGR__V1__AGENT_EVENT__INIT;

	w->behind = false;
	if (snapshot_fill(w->agent, &s) == 0) {
		event.what_case = LXMGR__V1__AGENT_EVENT__WHAT_SNAPSHOT;
		event.snapshot = &s.pb;
		send_event(w, &event);
	} else {
		lx_call_cancel(w->call);
	}
	snapshot_release(&s);
}

/* ------------------------------------------------------------------ a watcher */

static void on_heartbeat(void *arg)
{
	struct lx_watcher *w = arg;
	Lxmgr__V1__Heartbeat beat = LXMGR__V1__HEARTBEAT__INIT;
	Lxmgr__V1__AgentEvent event = LXMGR__V1__AGENT_EVENT__INIT;

	if (!w->spoke && !w->full) {
		beat.time_ns = (int64_t)lx_now_realtime_ns();
		event.what_case = LXMGR__V1__AGENT_EVENT__WHAT_HEARTBEAT;
		event.heartbeat = &beat;
		send_event(w, &event);
	}
	w->spoke = false;
}

static void on_writable(struct lx_call *call, void *arg)
{
	struct lx_watcher *w = arg;

	w->full = false;
	if (w->behind)
		send_snapshot(w);
	lx_denials_wake(w->agent);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct lx_watcher *w = arg;

	lx_info("watcher left", "peer=%s why=\"%s\"", lx_call_peer(call)->address, err->msg);
	TAILQ_REMOVE(&w->agent->watch.watchers, w, link);
	lx_timer_stop(w->heartbeat);
	lx_usage_retime(w->agent);
	free(w);
}

static const struct lx_call_events watcher_events = { .writable = on_writable, .closed = on_closed };

void lx_watch_serve(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentWatchRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_watcher *w = calloc(1, sizeof(*w));
	uint32_t beat = clamp(req->heartbeat_ms, HEARTBEAT_DEFAULT_MS, HEARTBEAT_MIN_MS, HEARTBEAT_MAX_MS);

	if (!w)
		lx_err_oom(&err);
	/* Half of what was asked for: a beat that waits for the next tick is still in time. */
	if (!w || lx_timer_start(a->loop, beat / 2, beat / 2, on_heartbeat, w, &w->heartbeat, &err) < 0) {
		free(w);
		lx_call_fail(call, &err);
		return;
	}
	w->agent = a;
	w->call = call;
	w->usage_ms = clamp(req->usage_interval_ms, USAGE_DEFAULT_MS, USAGE_MIN_MS, USAGE_MAX_MS);
	TAILQ_INSERT_TAIL(&a->watch.watchers, w, link);
	lx_call_set_events(call, &watcher_events, w);
	lx_info("watcher came", "peer=%s", lx_call_peer(call)->address);
	send_snapshot(w);
	lx_usage_retime(a);
	lx_denials_wake(a);
}

void lx_watch_init(struct lx_watch *w)
{
	TAILQ_INIT(&w->watchers);
}

uint32_t lx_watch_usage_interval(const struct lx_agent *a)
{
	const struct lx_watcher *w;
	uint32_t least = 0;

	TAILQ_FOREACH (w, &a->watch.watchers, link)
		if (least == 0 || w->usage_ms < least)
			least = w->usage_ms;
	return least;
}

bool lx_watch_ready(const struct lx_agent *a)
{
	const struct lx_watcher *w;

	TAILQ_FOREACH (w, &a->watch.watchers, link)
		if (!w->full)
			return true;
	return false;
}

/* ------------------------------------------------------------------ events */

void lx_watch_send(struct lx_agent *a, const Lxmgr__V1__AgentEvent *event)
{
	struct lx_watcher *w;
	size_t len;

	if (TAILQ_EMPTY(&a->watch.watchers))
		return;
	uint8_t *data = lx_pb_pack(&event->base, &len);

	TAILQ_FOREACH (w, &a->watch.watchers, link) {
		if (data)
			send_bytes(w, (struct lx_bytes){ .data = data, .len = len });
		else
			lx_call_cancel(w->call); /* it will ask again and get a snapshot */
	}
	free(data);
}

static void send_report(struct lx_agent *a, const struct lx_instance *inst, bool removed)
{
	struct lx_report report;
	Lxmgr__V1__AgentEvent event = LXMGR__V1__AGENT_EVENT__INIT;

	lx_instance_report(inst, &report);
	report.pb.removed = removed;
	event.what_case = LXMGR__V1__AGENT_EVENT__WHAT_INSTANCE;
	event.instance = &report.pb;
	lx_watch_send(a, &event);
}

void lx_watch_instance(struct lx_agent *a, const struct lx_instance *inst)
{
	send_report(a, inst, false);
}

void lx_watch_instance_removed(struct lx_agent *a, const struct lx_instance *inst)
{
	send_report(a, inst, true);
}

void lx_watch_image_added(struct lx_agent *a, Lxmgr__V1__Image *image)
{
	Lxmgr__V1__AgentEvent event = LXMGR__V1__AGENT_EVENT__INIT;

	event.what_case = LXMGR__V1__AGENT_EVENT__WHAT_IMAGE_ADDED;
	event.image_added = image;
	lx_watch_send(a, &event);
}

void lx_watch_image_removed(struct lx_agent *a, const char *fingerprint)
{
	Lxmgr__V1__AgentEvent event = LXMGR__V1__AGENT_EVENT__INIT;

	event.what_case = LXMGR__V1__AGENT_EVENT__WHAT_IMAGE_REMOVED;
	event.image_removed = (char *)(uintptr_t)fingerprint;
	lx_watch_send(a, &event);
}

void lx_watch_facts(struct lx_agent *a)
{
	Lxmgr__V1__AgentEvent event = LXMGR__V1__AGENT_EVENT__INIT;

	if (TAILQ_EMPTY(&a->watch.watchers))
		return;
	event.what_case = LXMGR__V1__AGENT_EVENT__WHAT_FACTS;
	event.facts = (Lxmgr__V1__NodeFacts *)(uintptr_t)lx_facts_get(a->facts);
	lx_watch_send(a, &event);
}
