/* Having the instance worker do one of its jobs, as the agent does. */
#ifndef LX_WORKER_MOVE_INSTANCE_JOB_H
#define LX_WORKER_MOVE_INSTANCE_JOB_H

#include "agent/worker/move/move.h"

struct lx_instance_job {
	pid_t pid; /* 0: none */
	int sock;  /* readable when it has something to tell, or is gone */
};

#define LX_INSTANCE_JOB_NONE ((struct lx_instance_job){ .sock = -1 })

/* `msg`: job and specification; its context is filled in here. It stays the caller's. */
int lx_instance_job_start(const struct lx_move *m, Lxmgr__V1__WorkerJob *msg, struct lx_instance_job *ret,
			  struct lx_err *err);
/* Waits for its end. `ret_result` (may be NULL) is freed with lx_pb_free(). */
int lx_instance_job_wait(struct lx_instance_job *j, Lxmgr__V1__WorkerReport **ret_result, struct lx_err *err);

#endif
