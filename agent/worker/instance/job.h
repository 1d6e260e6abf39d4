/*
 * One job on one instance: what every verb gets, and the table of verbs.
 *
 * A worker does exactly one job, so what it enters (namespaces, directories) it never
 * leaves again, and what it opens the end of the process may close.
 */
#ifndef LX_WORKER_JOB_H
#define LX_WORKER_JOB_H

#include <stdbool.h>

#include "agent/worker/proto.h"
#include "lib/err.h"
#include "lib/str.h"

/* Longest state or run directory, cgroup root or liblxc path; each path built from one fits below. */
#define LX_JOB_DIR_MAX  512
#define LX_JOB_PATH_MAX 1024

struct lx_job {
	Lxmgr__V1__WorkerJob *msg; /* lx_job_drop_message() frees it early */
	struct lx_worker_fds fds;  /* that came with it */
	int report;                /* the socket to the agent */

	char name[LX_NAME_MAX + 1];
	char state_dir[LX_JOB_DIR_MAX];
	char run_dir[LX_JOB_DIR_MAX];
	char cgroup_root[LX_JOB_DIR_MAX];
	char lxc_path[LX_JOB_DIR_MAX];
	char libexec_dir[LX_JOB_DIR_MAX];                               /* "": not said */
	char lxcfs_dir[LX_JOB_DIR_MAX];                                 /* "": there is none */
	char dir[LX_JOB_DIR_MAX + LX_NAME_MAX + sizeof("/instances/")]; /* <state_dir>/instances/<name> */
};

/* Checks the context and finds the name. Takes over msg, also when it fails. */
int lx_job_init(struct lx_job *job, Lxmgr__V1__WorkerJob *msg, struct lx_err *err);
void lx_job_release(struct lx_job *job);
void lx_job_drop_message(struct lx_job *job);

/* The context this job came with, for another job; strings stay the job's. */
void lx_job_context(const struct lx_job *job, Lxmgr__V1__WorkerContext *ret);

/* <instance directory>/<leaf> */
void lx_job_path(const struct lx_job *job, char out[LX_JOB_PATH_MAX], const char *leaf);

/* Where its own files are: "upper", "work", and what is in them. */
void lx_job_own_path(const struct lx_job *job, char out[LX_JOB_PATH_MAX], const char *leaf);

/* "web1 is not running", with what to do about it. */
int lx_job_not_running(const struct lx_job *job, struct lx_err *err);

/* The verbs, one file each. What they have to tell goes into `result`. */
typedef int (*lx_job_verb)(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);

int lx_job_create(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_start(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_restore(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_stop(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_probe(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_cleanup(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_destroy(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_freeze(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_limits(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_intercept(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_exec(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_console_log(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_push(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_pull(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_delete_file(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_job_check_policy(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err);

#endif
