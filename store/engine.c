/* Outcomes of jobs. An error is large and rare, so only a failed job has one. */
#include "store/engine.h"

#include <stdlib.h>

static struct lx_err no_memory = { .code = LX_RESOURCE_EXHAUSTED, .msg = "out of memory" };

void lx_engine_job_fail(struct lx_engine_job *job, const struct lx_err *err)
{
	lx_engine_job_release(job);
	job->result = (struct lx_store_result){ 0 };
	job->err = malloc(sizeof(*job->err));
	if (job->err)
		*job->err = *err;
	else
		job->err = &no_memory;
}

void lx_engine_job_release(struct lx_engine_job *job)
{
	if (job->err != &no_memory)
		free(job->err);
	job->err = NULL;
}
