/*
 * What a live move carries of the AppArmor profiles that an instance's root has loaded
 * (profiles/apparmor_namespace.h): CRIU has the kernel's own copies of them, makes them let all pass for the
 * moment in which it is in the guest's processes, and loads them again on the destination. For each it
 * starts a compiler while the guest stands still.
 */
#ifndef LX_WORKER_MOVE_POLICY_H
#define LX_WORKER_MOVE_POLICY_H

#include "agent/worker/instance/spec.h"
#include "agent/worker/move/move.h"
#include "migration/preflight.h"
#include "profiles/apparmor_namespace.h"

/* Profiles that CRIU is given to carry. */
#define LX_POLICY_PROFILES_MAX 64u

/*
 * Before a move, on the source: what of it stands in the way, all blocking.
 *
 *   apparmor-namespace   the instance runs with one, or without, and its configuration now says otherwise;
 *                        there are others in it; too many profiles; none that the kernel gives back
 */
int lx_policy_check(const struct lx_job *job, const lx_spec *spec, lx_obstacle_fn fn, void *arg,
		    struct lx_err *err);

/* Which one the running instance has; "" for none. */
void lx_policy_find(const struct lx_job *job, char out[LX_APPARMOR_NAMESPACE_MAX]);

/*
 * On the destination, when all is made ready for a restore: processes get the labels that the dump in
 * `images` says, so the namespace must be called as that of the source, and be there if one was, and each
 * label must be of it and of the instance's profile. FAILED_PRECONDITION, LX_DATA_LOSS.
 */
int lx_policy_accept(const struct lx_job *job, const lx_spec *spec, const char *source, const char *images,
		     struct lx_err *err);

#endif
