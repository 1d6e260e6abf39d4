/*
 * How far a long job is, and whether it should go on. The library reports as often as it
 * likes; whoever listens thins it out.
 */
#ifndef LX_IMAGES_PROGRESS_H
#define LX_IMAGES_PROGRESS_H

#include <stdint.h>

#include "lib/err.h"

struct lx_progress {
	/* `total` 0: not known. Non-zero: give up, the job is cancelled. */
	int (*report)(void *arg, const char *phase, uint64_t done, uint64_t total, const char *unit);
	void *arg;
};

/* 0, or -ECANCELED with LX_CANCELLED. `p` may be NULL: nobody listens. */
static inline int lx_progress_report(const struct lx_progress *p, const char *phase, uint64_t done,
				     uint64_t total, const char *unit, struct lx_err *err)
{
	if (p && p->report(p->arg, phase, done, total, unit) != 0)
		return lx_err_set(err, LX_CANCELLED, "cancelled");
	return 0;
}

#endif
