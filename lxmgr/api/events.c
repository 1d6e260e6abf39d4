/* EventService and SystemService. */
#include "lxmgr/events.h"

#include <stdlib.h>

#include "lib/str.h"
#include "lxmgr/auth/auth.h"
#include "proto/pb.h"

#define MAX_TYPES 16u

struct watcher {
	struct lx_subscriber sub; /* first */
	struct lx_manager *m;
	struct lx_call *call;
	unsigned behind; /* events queued since the client last kept up */
};

/* A client that is this many events behind is cut off. */
#define MAX_BEHIND 4096u

static void on_event(struct lx_subscriber *s, const Lxmgr__V1__Event *e)
{
	struct watcher *w = (struct watcher *)(void *)s;
	struct lx_scope scope;

	if (w->behind > MAX_BEHIND)
		return;                     /* already told to go */
	lx_scope_of(w->m, w->call, &scope); /* each time: rights may have changed */
	if (!lx_scope_sees(&scope, e->project))
		return;
	int r = lx_call_send(w->call, &e->base);
	if (r == 0)
		w->behind = 0;
	else if (++w->behind > MAX_BEHIND)
		lx_call_failf(w->call, LX_RESOURCE_EXHAUSTED, "%u events were not read in time", MAX_BEHIND);
}

static void on_writable(struct lx_call *call, void *arg)
{
	((struct watcher *)arg)->behind = 0;
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct watcher *w = arg;
	TAILQ_REMOVE(&w->m->subscribers, &w->sub, link);
	lx_pb_strv_free(&w->sub.n_types, &w->sub.types);
	free(w);
}

static const struct lx_call_events watch_events = { .writable = on_writable, .closed = on_closed };

static void api_watch(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	static const char *const known[] = { "lifecycle", "operation", "node", "security" };
	const Lxmgr__V1__WatchEventsRequest *req = (const void *)msg;
	struct lx_manager *m = arg;

	if (req->n_types > MAX_TYPES) {
		lx_call_failf(call, LX_INVALID_ARGUMENT, "more than %u event types", MAX_TYPES);
		return;
	}
	for (size_t i = 0; i < req->n_types; i++) {
		bool ok = false;
		for (size_t k = 0; k < LX_ARRAY_SIZE(known); k++)
			ok |= lx_streq(known[k], req->types[i]);
		if (!ok) {
			lx_call_failf(call, LX_INVALID_ARGUMENT,
				      "there is no event type \"%s\" (lifecycle, operation, node, security)",
				      req->types[i]);
			return;
		}
	}
	struct watcher *w = calloc(1, sizeof(*w));
	if (!w || lx_pb_strv_copy(&w->sub.n_types, &w->sub.types, req->n_types, req->types) < 0) {
		free(w);
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	w->m = m;
	w->call = call;
	w->sub.send = on_event;
	TAILQ_INSERT_TAIL(&m->subscribers, &w->sub, link);
	lx_call_set_events(call, &watch_events, w);
}

static const struct lx_method event_methods[] = {
	{ .name = "Watch", .server_stream = true, .unary = api_watch },
};

const struct lx_service lx_api_events = { &lxmgr__v1__event_service__descriptor, event_methods,
					  LX_ARRAY_SIZE(event_methods) };

static uint32_t count_seen(struct lx_manager *m, struct lx_call *call)
{
	struct lx_scope scope;
	uint32_t n = 0;

	lx_scope_of(m, call, &scope);
	if (scope.cluster != LX_ROLE_NONE)
		return (uint32_t)lx_map_count(&m->instances);
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e))
		n += lx_scope_sees(&scope, ((const struct lx_inst *)lx_map_value(e))->pb->project);
	return n;
}

static void api_info(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_manager *m = arg;
	Lxmgr__V1__SystemInfo info = LXMGR__V1__SYSTEM_INFO__INIT;
	char version[] = LX_VERSION, api[] = "lxmgr.v1", user[128];

	lx_gate_user(m, lx_call_peer(call), user, sizeof(user));
	info.version = version;
	info.api = api;
	info.cluster_id = m->cluster_id;
	info.address = m->address;
	info.started_at_ns = m->started_at_ns;
	info.nodes = (uint32_t)lx_map_count(&m->nodes);
	info.instances = count_seen(m, call);
	info.user = user;
	info.role = (char *)(uintptr_t)lx_role_name(
		lx_gate_role(m, lx_call_peer(call), lx_call_project(call), NULL));
	lx_call_reply(call, &info.base);
}

static const struct lx_method system_methods[] = {
	{ .name = "Info", .unary = api_info },
};

const struct lx_service lx_api_system = { &lxmgr__v1__system_service__descriptor, system_methods,
					  LX_ARRAY_SIZE(system_methods) };
