/*
 * Counting denials together and sending them.
 *
 *   note: the first after a quiet second is sent soon, with what comes along; further ones a
 *   second after that. As long as nobody watches, or whoever does cannot take more, all of it
 *   stays and grows in counts only.
 */
#include "agent/denial/denials.h"

#include <stdlib.h>
#include <string.h>

#include "agent/loop.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

#define EVERY_MS 1000u
#define SOON_MS  50u

struct lx_denials {
	struct lx_agent *agent;
	struct lx_audit *audit;
	struct lx_card_watch *cards;
	struct lx_timer *timer; /* of the next send, or NULL */
	uint64_t sent_ns;       /* monotonic */
	struct lx_map entries;  /* all of it as text -> Lxmgr__V1__Denial * */
	struct lx_map of;       /* instance -> uint32_t *, how many entries */
	struct lx_map omitted;  /* instance -> Lxmgr__V1__DenialOmission * */
};

/* ------------------------------------------------------------------ sending */

static void forget(struct lx_denials *ds)
{
	lx_map_release(&ds->entries);
	lx_map_release(&ds->of);
	lx_map_release(&ds->omitted);
	lx_map_init(&ds->entries, lx_pb_free);
	lx_map_init(&ds->of, free);
	lx_map_init(&ds->omitted, lx_pb_free);
}

static void send_all(struct lx_denials *ds)
{
	const size_t n = lx_map_count(&ds->entries), n_omitted = lx_map_count(&ds->omitted);
	lx_autofree Lxmgr__V1__Denial **list = calloc(n + 1, sizeof(*list));
	lx_autofree Lxmgr__V1__DenialOmission **omitted = calloc(n_omitted + 1, sizeof(*omitted));
	Lxmgr__V1__DenialReports all = LXMGR__V1__DENIAL_REPORTS__INIT;
	Lxmgr__V1__AgentEvent event = LXMGR__V1__AGENT_EVENT__INIT;

	if (!list || !omitted)
		return; /* the next one tries again */
	for (struct lx_map_entry *e = lx_map_first(&ds->entries); e; e = lx_map_next(e))
		list[all.n_denials++] = lx_map_value(e);
	for (struct lx_map_entry *e = lx_map_first(&ds->omitted); e; e = lx_map_next(e))
		omitted[all.n_omitted++] = lx_map_value(e);
	all.denials = list;
	all.omitted = omitted;
	event.what_case = LXMGR__V1__AGENT_EVENT__WHAT_DENIALS;
	event.denials = &all;
	lx_watch_send(ds->agent, &event);
	ds->sent_ns = lx_now_monotonic_ns();
	forget(ds);
}

static void on_timer(void *arg)
{
	struct lx_denials *ds = arg;

	lx_timer_drop(&ds->timer);
	if (lx_watch_ready(ds->agent))
		send_all(ds);
}

static void send_soon(struct lx_denials *ds)
{
	uint64_t since_ms = (lx_now_monotonic_ns() - ds->sent_ns) / LX_NSEC_PER_MSEC;
	uint64_t ms = since_ms + SOON_MS >= EVERY_MS ? SOON_MS : EVERY_MS - since_ms;

	if (!ds->timer && lx_watch_ready(ds->agent))
		(void)lx_timer_start(ds->agent->loop, ms, 0, on_timer, ds, &ds->timer, NULL);
}

void lx_denials_wake(struct lx_agent *a)
{
	struct lx_denials *ds = a->denials;

	if (ds && (lx_map_count(&ds->entries) || lx_map_count(&ds->omitted)))
		send_soon(ds);
}

/* ------------------------------------------------------------------ counting */

static const char *text(const char *s)
{
	return s ? s : "";
}

/* Fields apart by a character that none of them has. */
static int put_key(struct lx_buf *key, const struct lx_denial *d)
{
	int r = lx_buf_printf(key, "%s\1%s\1%d\1%s\1%s\1%s\1%s", text(d->instance), d->kind, d->allowed,
			      text(d->operation), text(d->path), text(d->mask), text(d->program));

	for (size_t i = 0; d->details && d->details[i] && r == 0; i += 2)
		r = lx_buf_printf(key, "\1%s", text(d->details[i + 1]));
	return r;
}

static Lxmgr__V1__Denial *denial_new(const struct lx_denial *d)
{
	Lxmgr__V1__Denial *pb = malloc(sizeof(*pb));

	if (!pb)
		return NULL;
	lxmgr__v1__denial__init(pb);
	pb->allowed = d->allowed;
	pb->first_ns = (int64_t)lx_now_realtime_ns();
	int r = lx_pb_set(&pb->instance, d->instance);

	if (r < 0 || lx_pb_set(&pb->kind, d->kind) < 0 || lx_pb_set(&pb->operation, d->operation) < 0 ||
	    lx_pb_set(&pb->path, d->path) < 0 || lx_pb_set(&pb->mask, d->mask) < 0 ||
	    lx_pb_set(&pb->program, d->program) < 0)
		r = -ENOMEM;
	for (size_t i = 0; d->details && d->details[i] && r == 0; i += 2)
		if (!lx_str_empty(d->details[i + 1]))
			r = lx_pb_map_set(&lxmgr__v1__denial__details_entry__descriptor, &pb->n_details,
					  &pb->details, d->details[i], d->details[i + 1]);
	if (r == 0)
		return pb;
	lx_pb_free(pb);
	return NULL;
}

/* Room for one more of the instance: counted at once. */
static bool take_room(struct lx_denials *ds, const char *instance)
{
	uint32_t *n = lx_map_get(&ds->of, instance);

	if (lx_map_count(&ds->entries) >= LX_DENIALS_OF_ALL || (n && *n >= LX_DENIALS_OF_ONE))
		return false;
	if (!n) {
		n = calloc(1, sizeof(*n));
		if (!n || lx_map_set(&ds->of, instance, n) < 0) {
			free(n);
			return false;
		}
	}
	++*n;
	return true;
}

void lx_denials_omit(struct lx_agent *a, const char *instance, uint64_t count)
{
	struct lx_denials *ds = a->denials;
	Lxmgr__V1__DenialOmission *o = ds ? lx_map_get(&ds->omitted, instance) : NULL;

	if (!ds)
		return;
	if (!o) {
		o = malloc(sizeof(*o));
		if (!o)
			return;
		lxmgr__v1__denial_omission__init(o);
		if (lx_pb_set(&o->instance, instance) < 0 || lx_map_set(&ds->omitted, instance, o) < 0) {
			lx_pb_free(o);
			return;
		}
	}
	o->count += count;
	send_soon(ds);
}

void lx_denials_note(struct lx_agent *a, const struct lx_denial *d)
{
	struct lx_denials *ds = a->denials;
	lx_autobuf struct lx_buf key = { 0 };

	if (!ds || put_key(&key, d) < 0)
		return;
	Lxmgr__V1__Denial *pb = lx_map_get(&ds->entries, lx_buf_str(&key));

	if (!pb) {
		pb = take_room(ds, text(d->instance)) ? denial_new(d) : NULL;
		if (!pb || lx_map_set(&ds->entries, lx_buf_str(&key), pb) < 0) {
			lx_pb_free(pb);
			lx_denials_omit(a, text(d->instance), d->count);
			return;
		}
	}
	pb->count += d->count;
	pb->last_ns = (int64_t)lx_now_realtime_ns();
	send_soon(ds);
}

/* ------------------------------------------------------------------ life */

int lx_denials_open(struct lx_agent *a, struct lx_err *err)
{
	struct lx_denials *ds = calloc(1, sizeof(*ds));

	if (!ds)
		return lx_err_oom(err);
	ds->agent = a;
	lx_map_init(&ds->entries, lx_pb_free);
	lx_map_init(&ds->of, free);
	lx_map_init(&ds->omitted, lx_pb_free);
	a->denials = ds;
	a->looking_since_ns = (int64_t)lx_now_realtime_ns();
	int r = lx_audit_open(a, &ds->audit, err);

	return r == 0 ? lx_card_watch_open(a, &ds->cards, err) : r;
}

void lx_denials_close(struct lx_agent *a)
{
	struct lx_denials *ds = a->denials;

	if (!ds)
		return;
	a->denials = NULL;
	lx_audit_close(ds->audit);
	lx_card_watch_close(ds->cards);
	lx_timer_stop(ds->timer);
	lx_map_release(&ds->entries);
	lx_map_release(&ds->of);
	lx_map_release(&ds->omitted);
	free(ds);
}
