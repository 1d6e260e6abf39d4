/*
 * Jobs: what the agent has its workers do (proto/lxmgr/v1/worker.proto).
 *
 *      queued ----> running ----> done ----> (worker exits) ----> buried
 *
 * A job of class WORK waits for its turn when many run; then it gets the spare worker that
 * is kept warm, so that a start does not wait for a program to load. `done` comes exactly
 * once for every job that lx_job_run() accepted, and never before it has returned:
 *
 *   result                      what the worker reported as its last word
 *   error                       the same, when it failed
 *   error, crashed              it died, or was killed for taking too long: nobody knows how far it came
 *
 * The job is gone when `done` is called. A worker is not harmed by the end of the agent.
 */
#ifndef LX_AGENT_JOBS_H
#define LX_AGENT_JOBS_H

#include <stdbool.h>

#include <uv.h>

#include "agent/worker/proto.h"
#include "lib/err.h"
#include "lxmgr/v1/worker.pb-c.h"

enum lx_job_class {
	LX_JOB_WORK,     /* short and heavy: a few at a time, the rest waits */
	LX_JOB_SESSION,  /* lives as long as somebody wants: exec, transfers, a clean shutdown */
	LX_JOB_IMAGE,    /* minutes of disk and processor */
	LX_JOB_TRANSFER, /* of an image, to or from another node */
	LX_JOB_MOVE,     /* one side of a move, or what belongs to it; files of an instance copied */
	LX_JOB_CLASSES
};

struct lx_jobs;
struct lx_job;

struct lx_job_end {
	const Lxmgr__V1__WorkerResult *result; /* NULL on failure; borrowed */
	const struct lx_err *err;              /* code LX_OK on success */
	bool crashed;
};

/* Each but `done` may be NULL. */
struct lx_job_events {
	void (*progress)(const Lxmgr__V1__ImageProgress *progress, void *arg);
	/* `fd`: what came along (a pty's master) or -1; the receiver owns it. */
	void (*started)(int pid, int fd, void *arg);
	void (*done)(const struct lx_job_end *end, void *arg);
};

/* The paths every worker is told. Borrowed for the life of the jobs. */
struct lx_jobs_options {
	const char *libexec_dir;
	const char *state_dir;
	const char *run_dir;
	const char *cgroup_root;
	const char *lxc_path;
	const char *lxcfs_dir; /* "": lxcfs is not used */
};

int lx_jobs_open(uv_loop_t *loop, const struct lx_jobs_options *opt, struct lx_jobs **ret,
		 struct lx_err *err);
/* Ends every job with UNAVAILABLE; workers finish on their own. NULL is fine. */
void lx_jobs_close(struct lx_jobs *js);

/*
 * A message for a job: with a copy of `spec` unless NULL, and with a copy of `body`, or an
 * empty one to be filled in (msg->stop->force ...). malloc'ed, NULL when out of memory.
 */
Lxmgr__V1__WorkerJob *lx_job_message(const Lxmgr__V1__InstanceSpec *spec, Lxmgr__V1__WorkerJob__JobCase what,
				     const ProtobufCMessage *body);

/*
 * Takes `msg` and the descriptors in `fds` (NULL: none) in any case. On failure `done`
 * never comes. *ret may be NULL.
 */
int lx_job_run(struct lx_jobs *js, enum lx_job_class class, Lxmgr__V1__WorkerJob *msg,
	       struct lx_worker_fds *fds, const struct lx_job_events *events, void *arg, struct lx_job **ret,
	       struct lx_err *err);

/* Signals the worker and its children; `done` comes as usual. No effect while it waits for its turn. */
void lx_job_kill(struct lx_job *job, int sig);
/* Kills it and forgets about it: `done` does not come. NULL is fine. */
void lx_job_abandon(struct lx_job *job);

#endif
