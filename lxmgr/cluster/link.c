/*
 * The link to one agent: a channel, a Watch stream on it, and a timer that both reconnects
 * and notices silence.
 *
 *   OFFLINE --dial, Watch--> (waiting for the snapshot) --snapshot--> ONLINE
 *      ^                                                                 |
 *      +--------- stream ends, or nothing heard for --offline-after -----+
 *
 * While a node is away its instances are Unknown: they may well run, but nobody can say.
 * Back again, the snapshot says what is; operations that waited are run, and moves that have
 * ended without it are forgotten; the networks it should have are sent again, and images it
 * should not have any more are deleted.
 */
#include "lxmgr/cluster/networks.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/operations/move.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/shown.h"
#include "lxmgr/warnings/warnings.h"
#include "proto/pb.h"

#define HEARTBEAT_MS    1000u
#define USAGE_MS        2000u
#define TICK_MS         500u
#define DIAL_TIMEOUT_MS 10000u

/* ------------------------------------------------------------------ up and down */

static void set_offline(struct lx_node *n, const char *reason)
{
	struct lx_manager *m = n->m;
	bool was_online = lx_node_online(n);

	n->synced = false;
	n->pb->status = LXMGR__V1__NODE_STATUS__NODE_STATUS_OFFLINE;
	lx_pb_set(&n->pb->status_reason, reason);
	if (!was_online || m->stopping)
		return;
	lx_warn("node is away", "node=%s reason=\"%s\"", n->pb->name, reason);
	const char *fields[] = { "reason", reason, NULL };
	lx_event(m, "node", "node-offline", "", n->pb->name, n->pb->name, fields);
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		struct lx_inst *inst = lx_map_value(e);
		if (lx_streq(inst->pb->node, n->pb->name))
			lx_inst_set_status(m, inst, LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_UNKNOWN,
					   "its node is offline");
	}
}

static void on_snapshot(struct lx_node *n, const Lxmgr__V1__AgentSnapshot *s)
{
	struct lx_manager *m = n->m;
	struct lx_map seen;

	lx_map_init(&seen, NULL);
	n->synced = true;
	n->reported = true;
	n->failures = 0;
	n->pb->status = LXMGR__V1__NODE_STATUS__NODE_STATUS_ONLINE;
	lx_pb_set(&n->pb->status_reason, NULL);
	if (s->facts) {
		lx_pb_free(n->pb->facts);
		n->pb->facts = LX_PB_DUP(Lxmgr__V1__NodeFacts, s->facts);
	}
	lx_image_leave_node(m, n);
	for (size_t i = 0; i < s->n_images; i++)
		lx_image_on_node(m, n, s->images[i]->fingerprint, true);
	for (size_t i = 0; i < s->n_instances; i++) {
		lx_map_set(&seen, s->instances[i]->uuid, (void *)1);
		lx_inst_report(m, n, s->instances[i]);
		if (!lx_map_has(&m->instances_by_uuid, s->instances[i]->uuid))
			lx_warn("node has an instance that the cluster does not know",
				"node=%s instance=%s uuid=%s", n->pb->name, s->instances[i]->name,
				s->instances[i]->uuid);
	}
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		struct lx_inst *inst = lx_map_value(e);
		if (lx_streq(inst->pb->node, n->pb->name) && !lx_map_has(&seen, inst->pb->uuid) && !inst->op)
			lx_inst_set_status(m, inst, LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_ERROR,
					   "its node does not have it");
	}
	lx_map_release(&seen);
	lx_info("node is online", "node=%s instances=%zu images=%zu", n->pb->name, s->n_instances,
		s->n_images);
	lx_event(m, "node", "node-online", "", n->pb->name, n->pb->name, NULL);
	lx_node_send_peers(n);
	lx_node_send_networks(n);
	lx_op_node_ready(m, n);
	lx_moves_go_on(m);
	for (size_t i = 0; i < s->n_instances; i++) {
		struct lx_inst *inst = lx_map_get(&m->instances_by_uuid, s->instances[i]->uuid);
		if (inst && lx_streq(inst->pb->node, n->pb->name))
			lx_inst_tell_back(m, inst, s->instances[i]->spec_digest);
	}
	lx_node_drop_stray_images(n);
}

/* ------------------------------------------------------------------ the Watch stream */

static void on_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_node *n = arg;
	const Lxmgr__V1__AgentEvent *e = (const void *)msg;

	n->heard_ns = lx_now_monotonic_ns();
	n->pb->last_seen_ns = (int64_t)lx_now_realtime_ns();
	if (!n->synced && e->what_case != LXMGR__V1__AGENT_EVENT__WHAT_SNAPSHOT)
		return;
	switch (e->what_case) {
	case LXMGR__V1__AGENT_EVENT__WHAT_SNAPSHOT:
		on_snapshot(n, e->snapshot);
		break;
	case LXMGR__V1__AGENT_EVENT__WHAT_INSTANCE:
		lx_inst_report(n->m, n, e->instance);
		break;
	case LXMGR__V1__AGENT_EVENT__WHAT_IMAGE_ADDED:
		lx_image_on_node(n->m, n, e->image_added->fingerprint, true);
		lx_node_drop_stray_images(n);
		break;
	case LXMGR__V1__AGENT_EVENT__WHAT_IMAGE_REMOVED:
		lx_image_on_node(n->m, n, e->image_removed, false);
		break;
	case LXMGR__V1__AGENT_EVENT__WHAT_FACTS:
		lx_pb_free(n->pb->facts);
		n->pb->facts = LX_PB_DUP(Lxmgr__V1__NodeFacts, e->facts);
		break;
	case LXMGR__V1__AGENT_EVENT__WHAT_USAGE:
		lx_inst_usage(n->m, e->usage);
		break;
	case LXMGR__V1__AGENT_EVENT__WHAT_DENIALS:
		lx_denials_report(n->m, n, e->denials);
		break;
	default: /* heartbeat, or something a newer agent says */
		break;
	}
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct lx_node *n = arg;
	if (n->watch != call)
		return;
	n->watch = NULL;
	n->failures++;
	set_offline(n, err->code == LX_OK ? "its agent ended the connection" : err->msg);
}

static const struct lx_call_events watch_events = { .message = on_message, .closed = on_closed };

static void dial(struct lx_node *n)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_manager *m = n->m;

	if (!n->channel) {
		const struct lx_tls_config tls = {
			.cert_pem = m->cert_pem,
			.key_pem = m->key_pem,
			.ca_pem = m->ca_pem,
			.expect_org_unit = "agent",
			.expect_common_name = n->pb->name,
			.expect_peer = lx_str_empty(n->pb->fingerprint) ? NULL : n->pb->fingerprint,
		};
		const struct lx_channel_options opt = {
			.tls = &tls, .keepalive = true, .reword = lx_shown_err, .arg = m
		};
		if (lx_channel_create(m->loop, n->pb->address, &opt, &n->channel, &err) < 0) {
			set_offline(n, err.msg);
			return;
		}
	}
	n->heard_ns = lx_now_monotonic_ns();
	if (lx_channel_stream(n->channel, &lxmgr__v1__agent_service__descriptor, "Watch", NULL, &watch_events,
			      n, &n->watch, &err) < 0) {
		n->watch = NULL;
		set_offline(n, err.msg);
		return;
	}
	Lxmgr__V1__AgentWatchRequest req = LXMGR__V1__AGENT_WATCH_REQUEST__INIT;
	req.heartbeat_ms = HEARTBEAT_MS;
	req.usage_interval_ms = USAGE_MS;
	lx_call_send(n->watch, &req.base);
	lx_call_half_close(n->watch);
}

/* A connection that hangs, or leads to the wrong place, helps nobody: the next tick makes a new one. */
static void start_over(struct lx_node *n, const char *reason)
{
	struct lx_channel *old = n->channel;

	set_offline(n, reason);
	n->watch = NULL;
	n->channel = NULL;
	lx_channel_close(old);
}

void lx_link_redial(struct lx_node *n)
{
	n->failures = 0;
	start_over(n, "its address was changed");
	lx_link_apply_networks(n->m); /* tunnels end there too */
}

static void on_tick(uv_timer_t *t)
{
	struct lx_node *n = t->data;
	uint64_t quiet_ms = (lx_now_monotonic_ns() - n->heard_ns) / LX_NSEC_PER_MSEC;

	if (n->watch) {
		if (quiet_ms > (n->synced ? n->m->opt.offline_after_s * 1000ull : DIAL_TIMEOUT_MS))
			start_over(n, "its agent has gone silent");
		return;
	}
	/* Every half second at first, every five seconds after ten failures. */
	if (n->failures > 10 && quiet_ms < 5000)
		return;
	dial(n);
}

void lx_link_start(struct lx_node *n)
{
	if (n->timer)
		return;
	n->timer = malloc(sizeof(*n->timer));
	if (!n->timer) {
		lx_error("out of memory for a node's link", "node=%s", n->pb->name);
		return;
	}
	uv_timer_init(n->m->loop, n->timer);
	n->timer->data = n;
	uv_timer_start(n->timer, on_tick, 0, TICK_MS);
	/* It has addresses to get, and the others have to know of it. */
	lx_link_apply_networks(n->m);
}

static void timer_closed(uv_handle_t *h)
{
	free(h);
}

void lx_link_stop(struct lx_node *n)
{
	if (n->timer) {
		uv_timer_stop(n->timer);
		uv_close((uv_handle_t *)n->timer, timer_closed);
		n->timer = NULL;
	}
	struct lx_channel *ch = n->channel;
	if (n->watch)
		lx_call_set_events(n->watch, NULL, NULL); /* nobody is left to tell */
	n->watch = NULL;
	n->channel = NULL;
	lx_channel_close(ch);
}
