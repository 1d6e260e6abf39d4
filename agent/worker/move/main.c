/*
 * lx-move-worker: one side of one move, or something with an instance's snapshots, then it exits. Like
 * the other workers it waits for its job on descriptor 3 and answers there. Unlike them it gives up a
 * move that has begun when its agent goes away before that is committed: nobody would hear the other
 * node any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "agent/worker/move/lazy.h"
#include "agent/worker/move/move.h"
#include "agent/worker/snapshot/snapshot.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/oom.h"
#include "lib/str.h"

static const struct {
	Lxmgr__V1__WorkerJob__JobCase job;
	lx_job_verb run;
} verbs[] = {
	{ LXMGR__V1__WORKER_JOB__JOB_SEND, lx_job_send },
	{ LXMGR__V1__WORKER_JOB__JOB_RECEIVE, lx_job_receive },
	{ LXMGR__V1__WORKER_JOB__JOB_MEND, lx_job_mend },
	{ LXMGR__V1__WORKER_JOB__JOB_CHECK_MOVE, lx_job_check_move },
	{ LXMGR__V1__WORKER_JOB__JOB_CREATE_SNAPSHOT, lx_job_create_snapshot },
	{ LXMGR__V1__WORKER_JOB__JOB_RESTORE_SNAPSHOT, lx_job_restore_snapshot },
	{ LXMGR__V1__WORKER_JOB__JOB_DELETE_SNAPSHOTS, lx_job_delete_snapshots },
	{ LXMGR__V1__WORKER_JOB__JOB_RENAME_SNAPSHOT, lx_job_rename_snapshot },
	{ LXMGR__V1__WORKER_JOB__JOB_MEND_SNAPSHOTS, lx_job_mend_snapshots },
};

static int run(struct lx_job *job, Lxmgr__V1__WorkerJob *msg, Lxmgr__V1__WorkerResult *result,
	       struct lx_err *err)
{
	int r = lx_job_init(job, msg, err);

	for (size_t i = 0; r == 0 && i < LX_ARRAY_SIZE(verbs); i++)
		if (verbs[i].job == msg->job_case)
			return verbs[i].run(job, result, err);
	return r < 0 ? r
		     : lx_err_set(err, LX_UNIMPLEMENTED, "the move worker does not know job %d",
				  (int)msg->job_case);
}

int main(int argc, char **argv)
{
	if (argc > 0 && lx_streq(argv[0], LX_LAZY_KEEPER))
		return lx_lazy_keeper(argc, argv);

	struct lx_err err = LX_ERR_INIT;
	struct lx_job job = { .report = LX_WORKER_FD };
	Lxmgr__V1__WorkerResult result = LXMGR__V1__WORKER_RESULT__INIT;
	Lxmgr__V1__WorkerJob *msg = NULL;

	lx_log_init("lx-move-worker", LX_LOG_WARN);
	umask(022);
	if (fcntl(LX_WORKER_FD, F_SETFD, FD_CLOEXEC) < 0) {
		lx_error("descriptor 3 is not open: this program is started by lxagentd", "");
		return EXIT_FAILURE;
	}
	int r = lx_worker_recv_job(LX_WORKER_FD, &msg, &job.fds, &err);

	if (r == 0)
		return EXIT_SUCCESS;
	if (r > 0)
		r = 0;
	/* A guest may be lost with who is in the middle of it. */
	lx_oom_spare();
	if (r == 0)
		r = run(&job, msg, &result, &err);
	r = r < 0 ? lx_worker_send_error(job.report, &err, NULL)
		  : lx_worker_send_result(job.report, &result, NULL);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
