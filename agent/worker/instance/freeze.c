/*
 * Freezing and thawing: the v2 freezer of the payload's cgroup, ours to write. liblxc's own
 * functions are not used, because they do nothing for a container that came by migration.
 */
#include "agent/worker/instance/cgroup.h"
#include "agent/worker/instance/run.h"

int lx_job_freeze(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	struct lx_cgroups cg;
	struct lx_run run;
	int r = lx_run_require(job, &run, err);

	if (r == 0)
		r = lx_cgroups_find(&cg, err);
	if (r == 0)
		r = lx_cgroup_freeze(&cg, job, job->msg->freeze->frozen, err);
	if (r < 0)
		return r;
	lx_run_tell(&run, result);
	return 0;
}
