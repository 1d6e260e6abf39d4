/* Is it running, and as which processes? A record that was lost is written anew. */
#include "agent/worker/instance/run.h"

int lx_job_probe(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	struct lx_run run;
	int r = lx_run_find(job, &run, err);

	if (r < 0)
		return r;
	if (r == 1)
		lx_run_tell(&run, result);
	return 0;
}
