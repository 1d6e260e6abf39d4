/*
 * lx-instance-worker: does one job on one instance for the agent, then exits.
 *
 * The happy path: wait for the job on descriptor 3, look its verb up in the table, run it,
 * send the result. An error is sent instead of the result. When the agent goes away before
 * it sent a job, the worker leaves quietly; a job that has begun is finished either way,
 * and the agent's successor finds out by probing.
 *
 * Under another name it stands in for CRIU (stand_in.c).
 *
 * The program stays small on purpose: liblxc's monitor is a fork of it, one for each
 * running container. That is also why it has a life as a zygote (agent/worker/zygote.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "agent/worker/instance/job.h"
#include "agent/worker/instance/shield.h"
#include "agent/worker/instance/stand_in.h"
#include "agent/worker/zygote.h"
#include "lib/cleanup.h"
#include "lib/log.h"

static const struct {
	Lxmgr__V1__WorkerJob__JobCase job;
	lx_job_verb run;
} verbs[] = {
	{ LXMGR__V1__WORKER_JOB__JOB_CREATE, lx_job_create },
	{ LXMGR__V1__WORKER_JOB__JOB_START, lx_job_start },
	{ LXMGR__V1__WORKER_JOB__JOB_RESTORE, lx_job_restore },
	{ LXMGR__V1__WORKER_JOB__JOB_STOP, lx_job_stop },
	{ LXMGR__V1__WORKER_JOB__JOB_PROBE, lx_job_probe },
	{ LXMGR__V1__WORKER_JOB__JOB_CLEANUP, lx_job_cleanup },
	{ LXMGR__V1__WORKER_JOB__JOB_DESTROY, lx_job_destroy },
	{ LXMGR__V1__WORKER_JOB__JOB_FREEZE, lx_job_freeze },
	{ LXMGR__V1__WORKER_JOB__JOB_LIMITS, lx_job_limits },
	{ LXMGR__V1__WORKER_JOB__JOB_INTERCEPT, lx_job_intercept },
	{ LXMGR__V1__WORKER_JOB__JOB_EXEC, lx_job_exec },
	{ LXMGR__V1__WORKER_JOB__JOB_CONSOLE_LOG, lx_job_console_log },
	{ LXMGR__V1__WORKER_JOB__JOB_PUSH, lx_job_push },
	{ LXMGR__V1__WORKER_JOB__JOB_PULL, lx_job_pull },
	{ LXMGR__V1__WORKER_JOB__JOB_DELETE_FILE, lx_job_delete_file },
	{ LXMGR__V1__WORKER_JOB__JOB_CHECK_POLICY, lx_job_check_policy },
};

static lx_job_verb find_verb(const Lxmgr__V1__WorkerJob *msg)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(verbs); i++)
		if (verbs[i].job == msg->job_case)
			return verbs[i].run;
	return NULL;
}

static int run(struct lx_job *job, Lxmgr__V1__WorkerJob *msg, Lxmgr__V1__WorkerResult *result,
	       struct lx_err *err)
{
	lx_job_verb verb = find_verb(msg);
	int r = lx_job_init(job, msg, err);

	if (r < 0)
		return r;
	if (!verb)
		return lx_err_set(err, LX_UNIMPLEMENTED, "the instance worker does not know job %d",
				  (int)msg->job_case);
	return verb(job, result, err);
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');

	if (strcmp(slash ? slash + 1 : argv[0], LX_STAND_IN_NAME) == 0)
		return lx_stand_in(argc, argv);
	struct lx_err err = LX_ERR_INIT;
	struct lx_job job = { .report = LX_WORKER_FD };
	Lxmgr__V1__WorkerJob *msg = NULL;

	lx_log_init("lx-instance-worker", LX_LOG_WARN);
	umask(022);
	lx_shield(argv);
	unsetenv("LD_BIND_NOW"); /* the agent's wish for this program alone */
	if (fcntl(LX_WORKER_FD, F_GETFD) < 0) {
		lx_error("descriptor 3 is not open: this program is started by lxagentd", "");
		return EXIT_FAILURE;
	}
	int r = argc > 2 && strcmp(argv[2], LX_ZYGOTE_ARGUMENT) == 0 ? lx_zygote_serve() : 1;

	/* No program started from here, least of all in a guest, may inherit the agent's socket. */
	(void)fcntl(LX_WORKER_FD, F_SETFD, FD_CLOEXEC);
	if (r > 0)
		r = lx_worker_recv_job(LX_WORKER_FD, &msg, &job.fds, &err);
	if (r == 0)
		return EXIT_SUCCESS;
	if (r < 0) {
		lx_error("no job", "error=\"%s\"", err.msg);
		(void)lx_worker_send_error(LX_WORKER_FD, &err, NULL);
		return EXIT_FAILURE;
	}
	Lxmgr__V1__WorkerResult result = LXMGR__V1__WORKER_RESULT__INIT;

	r = run(&job, msg, &result, &err);
	r = r < 0 ? lx_worker_send_error(job.report, &err, NULL)
		  : lx_worker_send_result(job.report, &result, NULL);
	/* What the result points to, the end of the process frees. */
	lx_job_release(&job);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
