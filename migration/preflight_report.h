/*
 * Collecting obstacles: equal ones become one with their number, and there is an end to them,
 * because a guest can have as many as it likes.
 */
#ifndef LX_MIGRATION_PREFLIGHT_REPORT_H
#define LX_MIGRATION_PREFLIGHT_REPORT_H

#include "lib/map.h"
#include "migration/preflight.h"
#include "migration/preflight_judge.h"

struct lx_preflight_report {
	struct lx_map entries; /* private; key -> entry */
	unsigned int left_out;
	bool left_out_blocks;
};

/* Whose it is. */
struct lx_preflight_process {
	pid_t inside;
	const char *name, *unit; /* unit: "" if none */
};

void lx_preflight_report_init(struct lx_preflight_report *r);
void lx_preflight_report_release(struct lx_preflight_report *r);
/* A verdict without a code is none. `p` NULL: not of a process; then equal `what` is one. */
int lx_preflight_report_add(struct lx_preflight_report *r, const struct lx_verdict *v,
			    const struct lx_preflight_process *p, struct lx_err *err);
/* Whether one of them blocks a move. */
bool lx_preflight_report_blocks(const struct lx_preflight_report *r);
/* Hands them over, in the order in which they were found. */
int lx_preflight_report_give(const struct lx_preflight_report *r, lx_obstacle_fn fn, void *arg,
			     struct lx_err *err);

#endif
