/*
 * Denials, as agents report them: each an event and a record of its instance, all counted by
 * kind, and one warning for each kind and instance.
 *
 * What no instance is known for is an event about the node and nothing else: it may be of a
 * guest's process that had gone when it was read, or of a program of the machine's own.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/project.h"
#include "lxmgr/warnings/warnings.h"
#include "proto/pb.h"

#define OMITTED "omitted"

static const struct kind {
	const char *kind;
	bool allowed;
	const char *type; /* of warning and event */
	const char *said; /* in the warning's message */
	enum lx_severity severity;
} kinds[] = {
	{ "apparmor", false, "apparmor-denied", "AppArmor denied", LX_SEVERITY_MODERATE },
	{ "apparmor", true, "apparmor-allowed", "AppArmor would deny", LX_SEVERITY_LOW },
	{ "syscall", false, "syscall-denied", "refused the system call", LX_SEVERITY_LOW },
	{ "syscall", true, "syscall-allowed", "told of the system call", LX_SEVERITY_LOW },
	{ "network", false, "frames-dropped",
	  "dropped frames that were not from its addresses, or spoke for others:", LX_SEVERITY_MODERATE },
	{ "memory", false, "out-of-memory",
	  "its memory was used up and a process killed:", LX_SEVERITY_MODERATE },
	{ "processes", false, "process-limit",
	  "it has as many processes as it may (limits.processes):", LX_SEVERITY_MODERATE },
	{ "start", false, "start-refused", "it cannot be confined as it is to be:", LX_SEVERITY_HIGH },
};

static const struct kind *kind_of(const Lxmgr__V1__Denial *d)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(kinds); i++)
		if (lx_streq(kinds[i].kind, d->kind) && kinds[i].allowed == (bool)d->allowed)
			return &kinds[i];
	return NULL; /* of a newer agent */
}

static const char *detail(const Lxmgr__V1__Denial *d, const char *key)
{
	return lx_pb_map_get(d->n_details, d->details, key);
}

/* ------------------------------------------------------------------ events, warnings */

static void tell(struct lx_manager *m, const struct kind *k, const struct lx_inst *inst, const char *node,
		 const Lxmgr__V1__Denial *d)
{
	char count[24];
	const char *what = detail(d, "capability"), *source = detail(d, "source");

	snprintf(count, sizeof(count), "%" PRIu64, d->count);
	const char *fields[] = { "operation",
				 d->operation,
				 "path",
				 d->path,
				 "mask",
				 d->mask,
				 "program",
				 d->program,
				 "count",
				 count,
				 what ? "capability" : "family",
				 what ? what : detail(d, "family"),
				 "peer",
				 detail(d, "peer"),
				 source ? "source" : "reason",
				 source ? source : detail(d, "reason"),
				 NULL };

	lx_event(m, "security", k->type, inst ? inst->pb->project : "", inst ? inst->pb->name : node, node,
		 fields);
}

static void warn_of(struct lx_manager *m, const struct kind *k, const struct lx_inst *inst,
		    const Lxmgr__V1__Denial *d)
{
	const struct lx_warning_of of = { k->type, "instance", inst->key, inst->pb->node, k->severity };
	const char *words[] = { d->operation, detail(d, "capability"), d->path, d->mask,
				detail(d, "reason") };
	lx_autobuf struct lx_buf text = { 0 };
	int r = lx_buf_puts(&text, k->said);

	for (size_t i = 0; i < LX_ARRAY_SIZE(words) && r == 0; i++)
		if (!lx_str_empty(words[i]))
			r = lx_buf_printf(&text, " %s", words[i]);
	if (r == 0 && !lx_str_empty(d->program))
		r = lx_buf_printf(&text, " (program %s)", d->program);
	if (r == 0)
		lx_warning_raise(m, &of, d->count, lx_buf_str(&text));
}

/* ------------------------------------------------------------------ what is remembered */

static Lxmgr__V1__Denials *records_of(struct lx_inst *inst)
{
	if (!inst->denials) {
		inst->denials = malloc(sizeof(*inst->denials));
		if (inst->denials)
			lxmgr__v1__denials__init(inst->denials);
	}
	return inst->denials;
}

static bool alike(const Lxmgr__V1__Denial *a, const Lxmgr__V1__Denial *b)
{
	if (!lx_streq(a->kind, b->kind) || a->allowed != b->allowed ||
	    !lx_streq(a->operation, b->operation) || !lx_streq(a->path, b->path) ||
	    !lx_streq(a->mask, b->mask) || !lx_streq(a->program, b->program) || a->n_details != b->n_details)
		return false;
	for (size_t i = 0; i < a->n_details; i++)
		if (!lx_streq(detail(b, a->details[i]->key), a->details[i]->value))
			return false;
	return true;
}

/* Where a new one goes: at the end, or in the place of the oldest. NULL: no memory. */
static Lxmgr__V1__Denial **take_place(Lxmgr__V1__Denials *all)
{
	if (all->n_denials < LX_DENIALS_KEPT) {
		Lxmgr__V1__Denial **more = realloc(all->denials, (all->n_denials + 1) * sizeof(*more));

		if (!more)
			return NULL;
		all->denials = more;
		more[all->n_denials] = NULL;
		return &more[all->n_denials++];
	}
	Lxmgr__V1__Denial **oldest = all->denials;

	for (size_t i = 1; i < all->n_denials; i++)
		if (all->denials[i]->last_ns < (*oldest)->last_ns)
			oldest = &all->denials[i];
	return oldest;
}

static void remember(Lxmgr__V1__Denials *all, const Lxmgr__V1__Denial *d)
{
	for (size_t i = 0; i < all->n_denials; i++) {
		Lxmgr__V1__Denial *known = all->denials[i];

		if (!alike(known, d))
			continue;
		known->count += d->count;
		known->last_ns = d->last_ns;
		return;
	}
	Lxmgr__V1__Denial *copy = LX_PB_DUP(Lxmgr__V1__Denial, d);
	Lxmgr__V1__Denial **place = copy ? take_place(all) : NULL;

	if (!place) {
		lx_pb_free(copy);
		return;
	}
	lx_pb_free(*place);
	*place = copy;
	/* It is the row's. */
	(void)lx_pb_set(&copy->instance, NULL);
}

static void count(Lxmgr__V1__Denials *all, const char *kind, uint64_t more)
{
	Lxmgr__V1__DenialCount *c = NULL;

	for (size_t i = 0; i < all->n_counts && !c; i++)
		if (lx_streq(all->counts[i]->kind, kind))
			c = all->counts[i];
	if (!c) {
		Lxmgr__V1__DenialCount **list =
			realloc(all->counts, (all->n_counts + 1) * sizeof(Lxmgr__V1__DenialCount *));

		if (!list)
			return;
		all->counts = list;
		c = malloc(sizeof(*c));
		if (!c)
			return;
		lxmgr__v1__denial_count__init(c);
		if (lx_pb_set(&c->kind, kind) < 0) {
			free(c);
			return;
		}
		list[all->n_counts++] = c;
	}
	c->count += more;
	c->last_ns = (int64_t)lx_now_realtime_ns();
}

/* ------------------------------------------------------------------ reports */

/* An agent speaks of the instances that are with it, or have just arrived. */
static struct lx_inst *find(struct lx_manager *m, const struct lx_node *node, const char *name)
{
	struct lx_inst *inst = *name ? lx_inst_by_key(m, name) : NULL;

	return inst && (lx_streq(inst->pb->node, node->pb->name) ||
			lx_streq(lx_inst_cards_at(inst), node->pb->name))
		       ? inst
		       : NULL;
}

static void changed(struct lx_manager *m, struct lx_inst *inst)
{
	inst->denials_dirty = true;
	if (m->warnings)
		lx_warnings_save_soon(m);
}

static void take(struct lx_manager *m, const struct lx_node *node, const Lxmgr__V1__Denial *d)
{
	const struct kind *k = kind_of(d);
	struct lx_inst *inst = find(m, node, d->instance);
	Lxmgr__V1__Denials *all = inst ? records_of(inst) : NULL;

	if (!k)
		return;
	tell(m, k, inst, node->pb->name, d);
	if (!all)
		return;
	remember(all, d);
	count(all, k->type, d->count);
	warn_of(m, k, inst, d);
	changed(m, inst);
}

static void take_omission(struct lx_manager *m, const struct lx_node *node,
			  const Lxmgr__V1__DenialOmission *o)
{
	struct lx_inst *inst = find(m, node, o->instance);
	Lxmgr__V1__Denials *all = inst ? records_of(inst) : NULL;
	char text[24];
	const char *fields[] = { "count", text, NULL };

	snprintf(text, sizeof(text), "%" PRIu64, o->count);
	lx_event(m, "security", "denials-omitted", inst ? inst->pb->project : "",
		 inst ? inst->pb->name : node->pb->name, node->pb->name, fields);
	if (!all)
		return;
	count(all, OMITTED, o->count);
	changed(m, inst);
}

void lx_denials_report(struct lx_manager *m, const struct lx_node *node, const Lxmgr__V1__DenialReports *r)
{
	for (size_t i = 0; i < r->n_denials; i++)
		take(m, node, r->denials[i]);
	for (size_t i = 0; i < r->n_omitted; i++)
		take_omission(m, node, r->omitted[i]);
}
