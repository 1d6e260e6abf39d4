/*
 * Preflight, as a job. The source looks at the guest; the destination at itself: CRIU, its
 * agreement with the source's processor, memory.
 */
#include <errno.h>
#include <stdlib.h>

#include "agent/worker/instance/run.h"
#include "agent/worker/lxcfs.h"
#include "agent/worker/move/move.h"
#include "agent/worker/move/policy.h"
#include "lib/cleanup.h"
#include "migration/net.h"
#include "migration/preflight.h"
#include "proto/pb.h"

static int keep(void *arg, const Lxmgr__V1__MoveObstacle *o, struct lx_err *err)
{
	Lxmgr__V1__AgentCheckMoveResponse *resp = arg;
	Lxmgr__V1__MoveObstacle *copy = LX_PB_DUP(Lxmgr__V1__MoveObstacle, o);
	Lxmgr__V1__MoveObstacle **grown =
		realloc(resp->obstacles, (resp->n_obstacles + 1) * sizeof(*resp->obstacles));

	if (grown)
		resp->obstacles = grown;
	if (!copy || !grown) {
		lx_pb_free(copy);
		return lx_err_oom(err);
	}
	resp->obstacles[resp->n_obstacles++] = copy;
	return 0;
}

/* Interfaces that are cards it holds are its agent's to complain of. */
static int check_net(pid_t init, const lx_spec *spec, Lxmgr__V1__AgentCheckMoveResponse *resp,
		     struct lx_err *err)
{
	lx_autofree Lxmgr__V1__Nic **nics = calloc(spec->n_nics + spec->n_held_nics + 1, sizeof(*nics));
	size_t n = 0;

	if (!nics)
		return lx_err_oom(err);
	for (size_t i = 0; i < spec->n_nics; i++)
		nics[n++] = spec->nics[i];
	for (size_t i = 0; i < spec->n_held_nics; i++)
		nics[n++] = spec->held_nics[i];
	return lx_net_check(init, n, nics, keep, resp, err);
}

static int check_guest(struct lx_job *job, Lxmgr__V1__AgentCheckMoveResponse *resp, struct lx_err *err)
{
	lx_autospec lx_spec *spec = NULL;
	struct lx_cgroups cg;
	struct lx_run run = { 0 };
	char payload[LX_JOB_PATH_MAX];
	int r = lx_cgroups_find(&cg, err);

	if (r == 0)
		r = lx_spec_load(job, &spec, err);
	if (r == 0)
		r = lx_run_require(job, &run, err);
	if (r != 0)
		return r;
	lx_cgroup_path(&cg, cg.v2, job, "/payload", payload);
	struct lx_preflight_guest guest = { .init = run.init, .cgroup = payload };
	struct lx_lxcfs lxcfs = { .serves = false };

	if (*job->lxcfs_dir)
		lx_lxcfs_ask_soon(job->lxcfs_dir, &lxcfs);
	guest.lxcfs.serves = lxcfs.serves;
	guest.lxcfs.silent = lxcfs.silent;
	guest.lxcfs.major = lxcfs.major;
	guest.lxcfs.minor = lxcfs.minor;
	r = lx_preflight_scan(&guest, keep, resp, err);
	if (r < 0 || !spec)
		return r;
	r = lx_policy_check(job, spec, keep, resp, err);
	return r < 0 ? r : check_net(run.init, spec, resp, err);
}

int lx_job_check_move(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	Lxmgr__V1__AgentCheckMoveResponse *resp = malloc(sizeof(*resp));

	if (!resp)
		return lx_err_oom(err);
	lxmgr__v1__agent_check_move_response__init(resp);
	result->check_move = resp; /* the end of the process frees it */
	return check_guest(job, resp, err);
}
