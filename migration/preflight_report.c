/* Collecting obstacles. What is equal: code, unit (without one: the process' name) and cure. */
#include "migration/preflight_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"

struct entry {
	const char *code;
	bool blocks;
	unsigned int more; /* beyond the first */
	char *cause, *cure;
};

static void free_entry(void *value)
{
	struct entry *e = value;

	free(e->cause);
	free(e->cure);
	free(e);
}

void lx_preflight_report_init(struct lx_preflight_report *r)
{
	memset(r, 0, sizeof(*r));
	lx_map_init(&r->entries, free_entry);
}

void lx_preflight_report_release(struct lx_preflight_report *r)
{
	lx_map_release(&r->entries);
}

static char *cause_of(const struct lx_verdict *v, const struct lx_preflight_process *p)
{
	if (!p)
		return strdup(v->what);
	if (*p->unit)
		return lx_asprintf("process %d (%s, unit %s) %s", (int)p->inside, p->name, p->unit, v->what);
	return lx_asprintf("process %d (%s) %s", (int)p->inside, p->name, v->what);
}

int lx_preflight_report_add(struct lx_preflight_report *r, const struct lx_verdict *v,
			    const struct lx_preflight_process *p, struct lx_err *err)
{
	if (!v->code)
		return 0;

	lx_autofree char *key =
		lx_asprintf("%s\n%s\n%s", v->code, p ? (*p->unit ? p->unit : p->name) : v->what, v->cure);

	if (!key)
		return lx_err_oom(err);
	struct entry *e = lx_map_get(&r->entries, key);

	if (e) {
		e->more++;
		return 0;
	}
	if (lx_map_count(&r->entries) >= LX_MOVE_OBSTACLES_MAX) {
		r->left_out++;
		r->left_out_blocks |= !v->passes;
		return 0;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return lx_err_oom(err);
	*e = (struct entry){
		.code = v->code, .blocks = !v->passes, .cause = cause_of(v, p), .cure = strdup(v->cure)
	};
	if (!e->cause || !e->cure || lx_map_set(&r->entries, key, e) < 0) {
		free_entry(e);
		return lx_err_oom(err);
	}
	return 0;
}

bool lx_preflight_report_blocks(const struct lx_preflight_report *r)
{
	for (struct lx_map_entry *i = lx_map_first(&r->entries); i; i = lx_map_next(i))
		if (((const struct entry *)lx_map_value(i))->blocks)
			return true;
	return r->left_out_blocks;
}

int lx_preflight_report_give(const struct lx_preflight_report *r, lx_obstacle_fn fn, void *arg,
			     struct lx_err *err)
{
	Lxmgr__V1__MoveObstacle o = LXMGR__V1__MOVE_OBSTACLE__INIT;

	for (struct lx_map_entry *i = lx_map_first(&r->entries); i; i = lx_map_next(i)) {
		const struct entry *e = lx_map_value(i);
		lx_autofree char *cause = e->more ? lx_asprintf("%s, and %u more like it", e->cause, e->more)
						  : strdup(e->cause);

		if (!cause)
			return lx_err_oom(err);
		o.code = (char *)e->code;
		o.cause = cause;
		o.cure = e->cure;
		o.blocks = e->blocks;
		int rc = fn(arg, &o, err);

		if (rc < 0)
			return rc;
	}
	if (r->left_out) {
		char cause[64];

		snprintf(cause, sizeof(cause), "and %u more", r->left_out);
		o.code = (char *)"more";
		o.cause = cause;
		o.cure = (char *)"Clear away those that are named, then look again.";
		o.blocks = r->left_out_blocks;
		return fn(arg, &o, err);
	}
	return 0;
}
