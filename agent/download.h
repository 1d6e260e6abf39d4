/* A call whose answer is what a worker writes to a descriptor: files, logs, images. */
#ifndef LX_AGENT_DOWNLOAD_H
#define LX_AGENT_DOWNLOAD_H

#include "agent/agent.h"
#include "agent/jobs.h"

struct lx_download_kind {
	/* Sends bytes as a message of the call's type; as lx_call_send(). NULL: the worker writes
	 * whole messages behind their length (worker/frame.h), which are passed on as they are. */
	int (*send)(struct lx_call *call, const uint8_t *data, size_t len);
};

/* Runs the job (taken in any case), which gets one descriptor, and ends the call with it. When
 * the caller goes away the worker is told with SIGTERM. */
void lx_download(struct lx_agent *a, struct lx_call *call, enum lx_job_class class, Lxmgr__V1__WorkerJob *msg,
		 const struct lx_download_kind *kind);

#endif
