/*
 * The warnings there are.
 *
 *   raise:   NEW --acknowledged by a person--> ACKNOWLEDGED   happens again: counts, stays so
 *   hold:    NEW, ACKNOWLEDGED --does not hold any more--> RESOLVED --holds again--> NEW
 *
 * When there are too many, one that is resolved goes, else one that is acknowledged, else the one
 * that was not seen for longest.
 */
#include "lxmgr/warnings/warnings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

#define STATUS(s)  LXMGR__V1__WARNING_STATUS__WARNING_STATUS_##s
#define KEY_MAX    512
#define DECIMAL    24
#define HOLD_AGAIN (60 * (int64_t)LX_NSEC_PER_SEC) /* how exact "last seen" of one that holds is */

static const char *key_of(const char *type, const char *entity, const char *name, char buf[KEY_MAX])
{
	snprintf(buf, KEY_MAX, "%s\1%s\1%s", type, entity, name);
	return buf;
}

static const char *decimal(uint64_t id, char buf[DECIMAL])
{
	snprintf(buf, DECIMAL, "%" PRIu64, id);
	return buf;
}

static void warning_free(void *p)
{
	struct lx_warning *w = p;

	if (!w)
		return;
	lx_pb_free(w->pb);
	free(w);
}

/* ------------------------------------------------------------------ the set */

int lx_warning_add(struct lx_warnings *ws, Lxmgr__V1__Warning *pb, struct lx_warning **ret)
{
	struct lx_warning *w = pb ? calloc(1, sizeof(*w)) : NULL;
	char key[KEY_MAX], id[DECIMAL];

	if (!w) {
		lx_pb_free(pb);
		return -ENOMEM;
	}
	w->pb = pb;
	if (lx_map_set(&ws->by_id, decimal(pb->id, id), w) < 0) {
		warning_free(w);
		return -ENOMEM;
	}
	if (lx_map_set(&ws->by_key, key_of(pb->type, pb->entity, pb->name, key), w) < 0) {
		lx_map_del(&ws->by_id, id);
		return -ENOMEM;
	}
	if (pb->id > ws->last_id)
		ws->last_id = pb->id;
	*ret = w;
	return 0;
}

void lx_warning_drop(struct lx_manager *m, struct lx_warning *w)
{
	char key[KEY_MAX], id[DECIMAL];

	lx_map_del(&m->warnings->by_key, key_of(w->pb->type, w->pb->entity, w->pb->name, key));
	lx_map_del(&m->warnings->by_id, decimal(w->pb->id, id));
}

/* Without memory its row stays, and is dropped after the next start. */
static void note_dropped(struct lx_warnings *ws, uint64_t id)
{
	if (ws->n_dropped == ws->room_dropped) {
		size_t more = ws->room_dropped ? ws->room_dropped * 2 : 16;
		uint64_t *grown = realloc(ws->dropped, more * sizeof(*grown));

		if (!grown)
			return;
		ws->dropped = grown;
		ws->room_dropped = more;
	}
	ws->dropped[ws->n_dropped++] = id;
}

void lx_warning_remove(struct lx_manager *m, struct lx_warning *w)
{
	note_dropped(m->warnings, w->pb->id);
	lx_warning_drop(m, w);
	lx_warnings_save_soon(m);
}

void lx_warnings_remove_of(struct lx_manager *m, const char *entity, const char *name)
{
	struct lx_map_entry *next;

	for (struct lx_map_entry *e = m->warnings ? lx_map_first(&m->warnings->by_id) : NULL; e; e = next) {
		struct lx_warning *w = lx_map_value(e);

		next = lx_map_next(e);
		if (lx_streq(w->pb->entity, entity) && lx_streq(w->pb->name, name))
			lx_warning_remove(m, w);
	}
}

struct lx_warning *lx_warning_find(struct lx_manager *m, uint64_t id, struct lx_err *err)
{
	char text[DECIMAL];
	struct lx_warning *w = lx_map_get(&m->warnings->by_id, decimal(id, text));

	if (!w) {
		lx_err_set(err, LX_NOT_FOUND, "there is no warning %s", text);
		lx_err_hint(err, "lxmgr warning list --all shows the warnings there are.");
	}
	return w;
}

/* Who goes first has the smaller number. */
static int worth(const Lxmgr__V1__Warning *w)
{
	return w->status == STATUS(RESOLVED) ? 0 : w->status == STATUS(ACKNOWLEDGED) ? 1 : 2;
}

static void make_room(struct lx_manager *m)
{
	struct lx_warnings *ws = m->warnings;
	struct lx_warning *least = NULL;

	if (lx_map_count(&ws->by_id) < LX_WARNINGS_MAX)
		return;
	for (struct lx_map_entry *e = lx_map_first(&ws->by_id); e; e = lx_map_next(e)) {
		struct lx_warning *w = lx_map_value(e);

		if (!least || worth(w->pb) < worth(least->pb) ||
		    (worth(w->pb) == worth(least->pb) && w->pb->last_seen_ns < least->pb->last_seen_ns))
			least = w;
	}
	if (least)
		lx_warning_remove(m, least);
}

static struct lx_warning *new_warning(struct lx_manager *m, const struct lx_warning_of *of)
{
	Lxmgr__V1__Warning *pb = malloc(sizeof(*pb));
	struct lx_warning *w;

	if (!pb)
		return NULL;
	make_room(m);
	lxmgr__v1__warning__init(pb);
	pb->id = m->warnings->last_id + 1;
	pb->first_seen_ns = (int64_t)lx_now_realtime_ns();
	if (lx_pb_set(&pb->type, of->type) < 0 || lx_pb_set(&pb->entity, of->entity) < 0 ||
	    lx_pb_set(&pb->name, of->name) < 0) {
		lx_pb_free(pb);
		return NULL;
	}
	return lx_warning_add(m->warnings, pb, &w) < 0 ? NULL : w;
}

static struct lx_warning *find(struct lx_manager *m, const struct lx_warning_of *of)
{
	char key[KEY_MAX];

	return lx_map_get(&m->warnings->by_key, key_of(of->type, of->entity, of->name, key));
}

/* ------------------------------------------------------------------ what happens */

void lx_warning_raise(struct lx_manager *m, const struct lx_warning_of *of, uint64_t count,
		      const char *message)
{
	struct lx_warning *w = m->warnings ? find(m, of) : NULL;

	if (!m->warnings || (!w && !(w = new_warning(m, of))))
		return;
	if (w->pb->status != STATUS(ACKNOWLEDGED))
		w->pb->status = STATUS(NEW);
	w->pb->severity = (Lxmgr__V1__WarningSeverity)of->severity;
	w->pb->last_seen_ns = (int64_t)lx_now_realtime_ns();
	w->pb->count += count;
	/* Out of memory: what it said before is not wrong. */
	(void)lx_pb_set(&w->pb->node, of->node);
	(void)lx_pb_set(&w->pb->message, message);
	w->dirty = true;
	lx_warnings_save_soon(m);
}

void lx_warning_hold(struct lx_manager *m, const struct lx_warning_of *of, const char *message)
{
	const struct lx_warning *w = m->warnings ? find(m, of) : NULL;
	bool held = w && w->pb->status != STATUS(RESOLVED);

	if (held && lx_streq(w->pb->message, message) &&
	    w->pb->severity == (Lxmgr__V1__WarningSeverity)of->severity &&
	    (int64_t)lx_now_realtime_ns() - w->pb->last_seen_ns < HOLD_AGAIN)
		return;
	lx_warning_raise(m, of, !held, message);
}

void lx_warning_resolve(struct lx_manager *m, const struct lx_warning_of *of)
{
	struct lx_warning *w = m->warnings ? find(m, of) : NULL;

	if (!w || w->pb->status == STATUS(RESOLVED))
		return;
	w->pb->status = STATUS(RESOLVED);
	w->dirty = true;
	lx_warnings_save_soon(m);
}

/* ------------------------------------------------------------------ life */

static void on_look(uv_timer_t *timer)
{
	lx_conditions_look(timer->data);
}

#define LOOK_MS 2000u

int lx_warnings_open(struct lx_manager *m, struct lx_err *err)
{
	struct lx_warnings *ws = calloc(1, sizeof(*ws));

	if (!ws)
		return lx_err_oom(err);
	ws->m = m;
	lx_map_init(&ws->by_id, warning_free);
	lx_map_init(&ws->by_key, NULL);
	uv_timer_init(m->loop, &ws->save);
	uv_timer_init(m->loop, &ws->look);
	ws->save.data = ws->look.data = m;
	m->warnings = ws;
	int r = lx_warnings_load(m, err);

	if (r == 0)
		uv_timer_start(&ws->look, on_look, LOOK_MS, LOOK_MS);
	return r;
}

void lx_warnings_close(struct lx_manager *m)
{
	if (!m->warnings)
		return;
	uv_timer_stop(&m->warnings->look);
	uv_timer_stop(&m->warnings->save);
	while (lx_warnings_save(m))
		;
}

void lx_warnings_free(struct lx_manager *m)
{
	struct lx_warnings *ws = m->warnings;

	if (!ws)
		return;
	lx_map_release(&ws->by_key);
	lx_map_release(&ws->by_id);
	free(ws->dropped);
	free(ws);
	m->warnings = NULL;
}
