/*
 * What a project may have, and what its instances may be.
 *
 * A quota bounds a number (instances, networks, images) or a sum over the project's instances of
 * what each is itself bounded to (limits.cpu, limits.memory, limits.processes, the size of its root
 * disk): so one without such a bound cannot be in a project that has the quota.
 *
 * Everything is looked at in memory, in the turn (turn.h) of the change, and what is being made
 * is in memory from that moment on, before the transaction that stores it is submitted: two that
 * are made at once see each other. Whatever makes a project's instances other than they are goes
 * through lx_project_check().
 */
#ifndef LX_LXMGR_QUOTA_H
#define LX_LXMGR_QUOTA_H

#include "lxmgr/project.h"

enum lx_quota {
	LX_QUOTA_INSTANCES,
	LX_QUOTA_CPU, /* thousandths */
	LX_QUOTA_MEMORY,
	LX_QUOTA_PROCESSES,
	LX_QUOTA_DISK,
	LX_QUOTA_NETWORKS,
	LX_QUOTA_IMAGES,
	LX_QUOTA_COUNT,
};

struct lx_use {
	uint64_t used[LX_QUOTA_COUNT];
	/* Instances without such a bound, which `used` leaves out; the first of them (borrowed). */
	uint32_t unbounded[LX_QUOTA_COUNT];
	const char *first[LX_QUOTA_COUNT];
};

/* "instances", "cpu" ...: what stands behind "limits.". */
const char *lx_quota_name(enum lx_quota q);
/* False: the project has no such quota. */
bool lx_quota_limit(const Lxmgr__V1__Project *p, enum lx_quota q, uint64_t *ret);
/* Adds an expanded instance. Sums stay at the greatest number there is. Pure. */
void lx_use_add(struct lx_use *use, const Lxmgr__V1__Instance *pb);
/* RESOURCE_EXHAUSTED or, where a bound is missing, FAILED_PRECONDITION says which quota, and the numbers.
 * Pure. */
int lx_use_check(const Lxmgr__V1__Project *p, const struct lx_use *use, struct lx_err *err);
/* Has it security.syscalls.intercept.*? */
bool lx_instance_intercepts(const Lxmgr__V1__Instance *pb);
/* Is the instance one that the project's restrictions allow? */
int lx_restriction_check(struct lx_manager *m, const struct lx_project *p, const Lxmgr__V1__Instance *pb,
			 struct lx_err *err);

/*
 * May the project's instances be these? `next` (n of them, expanded) take the place of those in
 * memory with the same uuid, or are new. NOT_FOUND when the project is gone.
 */
int lx_project_check(struct lx_manager *m, const char *project, Lxmgr__V1__Instance *const *next, size_t n,
		     struct lx_err *err);
/* May it have one network or image more? */
int lx_project_room(struct lx_manager *m, const char *project, enum lx_quota q, struct lx_err *err);
/* What it uses now. */
void lx_project_use(struct lx_manager *m, const char *project, struct lx_use *ret);

#endif
