/*
 * What a live move carries of the AppArmor profiles that an instance's root has loaded
 * (profiles/apparmor_namespace.h): CRIU has the kernel's own copies of them, makes them let all pass for the
 * moment in which it is in the guest's processes, and loads them again on the destination. For each that a
 * process is under it starts a compiler while the guest stands still.
 */
#ifndef LX_WORKER_MOVE_POLICY_H
#define LX_WORKER_MOVE_POLICY_H

#include "agent/worker/instance/spec.h"
#include "agent/worker/move/move.h"
#include "migration/dump_dir.h"
#include "migration/preflight.h"
#include "profiles/apparmor_namespace.h"

/* Profiles that CRIU is given to carry: a Debian 13 loads a hundred. */
#define LX_POLICY_PROFILES_MAX 512u
/* A directory in that of the dump: what CRIU is told (migration/policy_namespace.h). */
#define LX_POLICY_KEPT_MAX (LX_DUMP_DIR_MAX + 16)

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

void lx_policy_kept_path(const char *dump_dir, char out[LX_POLICY_KEPT_MAX]);
/* On the source, while the guest stands still and CRIU has not begun: copies of all that is loaded. */
int lx_policy_keep(const char *namespace, const char *dump_dir, const pid_t *pids, size_t n,
		   struct lx_err *err);
/*
 * On the way back, whatever CRIU has done: what it may have put something else in the place of. Nothing
 * when there are no copies. The first failure; the others are loaded all the same.
 */
int lx_policy_put_back(const struct lx_job *job, const char *dump_dir, struct lx_err *err);

/*
 * On the destination, when all is made ready for a restore: processes get the labels that the dump in
 * `images` says, so the namespace must be called as that of the source, and be there if one was, and each
 * label must be of it and of the instance's profile. FAILED_PRECONDITION, LX_DATA_LOSS.
 */
int lx_policy_accept(const struct lx_job *job, const lx_spec *spec, const char *source, const char *images,
		     struct lx_err *err);

#endif
