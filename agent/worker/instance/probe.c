/* Is it running, and as which processes? A record that was lost is written anew. */
#include "agent/worker/instance/run.h"
#include "proto/pb.h"

/* Out of memory: without it they are not known, which is what the agent takes an empty list for. */
static void add_card(const char *name, void *arg)
{
	Lxmgr__V1__WorkerResult *result = arg;

	(void)lx_pb_strv_add(&result->n_veths, &result->veths, name);
}

int lx_job_probe(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	struct lx_run run;
	int r = lx_run_find(job, &run, err);

	if (r < 0)
		return r;
	if (r == 1) {
		lx_run_tell(&run, result);
		/* Freed by the end of the process. */
		lx_run_each_veth(job, add_card, result);
	}
	return 0;
}
