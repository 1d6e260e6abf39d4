/*
 * The way back of a source: what a dump that was taken back, or a CRIU that was killed, may have
 * left, undone in the order that lets nothing of the guest get lost.
 *
 * A CRIU that takes back its dump by itself has done the first two already; they find nothing.
 * The network comes back before the guest does, so that what it says first is heard.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/worker/move/move.h"
#include "agent/worker/move/policy.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "migration/casualties.h"
#include "migration/criu_kill.h"
#include "migration/dump_dir.h"
#include "migration/ghosts.h"
#include "migration/net.h"
#include "migration/sockets.h"

/* A way back goes to its end: what one step cannot do must not keep the guest frozen. */
static void note(const struct lx_job *job, const char *what, struct lx_err *e, struct lx_err *first)
{
	lx_warn("cannot undo a part of a move", "instance=%s part=\"%s\" error=\"%s\"", job->name, what,
		e->msg);
	if (first->code == LX_OK)
		*first = *e;
	*e = LX_ERR_INIT;
}

static void dump_dir(const struct lx_job *job, char out[LX_DUMP_DIR_MAX])
{
	const Lxmgr__V1__WorkerJob *msg = job->msg;

	lx_dump_dir_path(job->run_dir,
			 msg->job_case == LXMGR__V1__WORKER_JOB__JOB_SEND ? msg->send->operation
									  : msg->mend->operation,
			 out);
}

static int remove_ghosts(const struct lx_job *job, const struct lx_run *run, const char *dir,
			 struct lx_err *err)
{
	char hook[LX_DUMP_DIR_MAX + 8], upper[LX_JOB_PATH_MAX], path[64];

	snprintf(hook, sizeof(hook), "%s/hook", dir);
	lx_job_own_path(job, upper, "upper");
	snprintf(path, sizeof(path), "/proc/%d/root", (int)run->init);
	lx_autoclose int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return root < 0 ? lx_err_errno(err, errno, "cannot open %s", path)
			: lx_ghosts_remove(upper, root, hook, err);
}

int lx_move_mend(const struct lx_job *job, const struct lx_cgroups *cg, const lx_spec *spec,
		 const struct lx_run *run, struct lx_err *err)
{
	struct lx_move m = { .job = (struct lx_job *)(uintptr_t)job, .cg = *cg };
	struct lx_err e = LX_ERR_INIT, first = LX_ERR_INIT;
	lx_autofree pid_t *pids = NULL;
	unsigned mended = 0;
	char dir[LX_DUMP_DIR_MAX];
	size_t n = 0;

	dump_dir(job, dir);
	lx_cgroup_path(cg, cg->v2, job, "/payload", m.payload);
	if (lx_net_unlock(run->init, &e) < 0)
		note(job, "network lock", &e, &first);
	if (lx_move_pids(&m, &pids, &n, &e) < 0 || lx_sockets_mend(pids, n, &mended, &e) < 0)
		note(job, "sockets", &e, &first);
	if (remove_ghosts(job, run, dir, &e) < 0)
		note(job, "names of deleted files", &e, &first);
	if (lx_policy_put_back(job, dir, &e) < 0)
		note(job, "AppArmor profiles", &e, &first);
	if (lx_net_plug(spec->n_nics, spec->nics, &e) < 0)
		note(job, "network cards", &e, &first);
	if (lx_cgroup_freeze(cg, job, false, &e) < 0)
		note(job, "freeze", &e, &first);
	if (first.code == LX_OK)
		return 0;
	if (err)
		*err = first;
	return lx_code_errno(first.code);
}

/* A CRIU that has lost its worker takes back its dump by itself. */
#define PATIENCE_MS 10000

static int end_processes(const struct lx_job *job, const struct lx_cgroups *cg, lx_move_record **ret,
			 struct lx_err *err)
{
	char payload[LX_JOB_PATH_MAX];
	const char *operation = job->msg->mend->operation;
	int r = lx_move_operation_check(operation, err);

	if (r == 0)
		r = lx_move_record_load(job->state_dir, operation, ret, err);
	lx_cgroup_path(cg, cg->v2, job, "/payload", payload);
	/* A destination's must stay as it is. */
	if (r == 0 && (*ret)->role == LXMGR__V1__MOVE_ROLE__MOVE_ROLE_SOURCE &&
	    lx_criu_at_work(job->run_dir, operation))
		lx_move_hold(payload, false);
	if (r == 0)
		lx_criu_end(job->run_dir, operation, PATIENCE_MS);
	return r;
}

/* A guest that has ended leaves its monitor for a moment, and one that is ending its init. */
static bool lives(const struct lx_run *run)
{
	struct lx_roll roll = { 0 };
	bool r = run->init > 0 && lx_roll_take(&run->init, 1, &roll, NULL) == 0 && roll.n == 1;

	lx_roll_release(&roll);
	return r;
}

/* For an agent that found the move of a worker that has died. */
int lx_job_mend(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	lx_autospec lx_spec *spec = NULL;
	lx_automoverecord lx_move_record *rec = NULL;
	struct lx_cgroups cg;
	struct lx_run run = { 0 };
	int r = lx_cgroups_find(&cg, err);

	if (r == 0)
		r = end_processes(job, &cg, &rec, err);
	if (r < 0 || !rec || rec->role == LXMGR__V1__MOVE_ROLE__MOVE_ROLE_DESTINATION)
		return r;
	r = lx_run_find(job, &run, err);
	if (r <= 0 || !lives(&run))
		return r < 0 ? r : 0; /* it does not run, or is about to end: nothing to mend */
	r = lx_spec_load(job, &spec, err);
	if (r == 0)
		r = lx_move_mend(job, &cg, spec, &run, err);
	if (r == 0)
		lx_run_tell(&run, result);
	return r;
}
