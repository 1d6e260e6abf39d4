/*
 * Events go to whoever watches (EventService.Watch). A watcher that does not read fast
 * enough is cut off with RESOURCE_EXHAUSTED rather than slowing the manager down.
 */
#include "lxmgr/manager.h"

#include <stdlib.h>

#include "lib/clock.h"
#include "lib/str.h"
#include "lxmgr/events.h"
#include "proto/pb.h"

static bool wants(const struct lx_subscriber *s, const char *type)
{
	if (!s->n_types)
		return true;
	for (size_t i = 0; i < s->n_types; i++)
		if (lx_streq(s->types[i], type))
			return true;
	return false;
}

void lx_event(struct lx_manager *m, const char *type, const char *action, const char *project,
	      const char *subject, const char *node, const char *const *fields)
{
	struct lx_pb_entry entries[8], *list[8];
	Lxmgr__V1__Event e = LXMGR__V1__EVENT__INIT;
	struct lx_subscriber *s, *next;

	if (TAILQ_EMPTY(&m->subscribers))
		return;
	e.time_ns = (int64_t)lx_now_realtime_ns();
	e.type = (char *)(uintptr_t)type;
	e.action = (char *)(uintptr_t)action;
	e.project = (char *)(uintptr_t)(project ? project : "");
	e.subject = (char *)(uintptr_t)(subject ? subject : "");
	e.node = (char *)(uintptr_t)(node ? node : "");
	for (size_t i = 0; fields && fields[2 * i] && i < LX_ARRAY_SIZE(entries); i++) {
		if (lx_str_empty(fields[2 * i + 1]))
			continue;
		struct lx_pb_entry *entry = &entries[e.n_fields];
		protobuf_c_message_init(&lxmgr__v1__event__fields_entry__descriptor, entry);
		entry->key = (char *)(uintptr_t)fields[2 * i];
		entry->value = (char *)(uintptr_t)fields[2 * i + 1];
		list[e.n_fields++] = entry;
	}
	e.fields = (Lxmgr__V1__Event__FieldsEntry **)(void *)list;
	TAILQ_FOREACH_SAFE (s, &m->subscribers, link, next)
		if (wants(s, type))
			s->send(s, &e);
}
