/*
 * liblxc's monitor is a fork of whoever calls it, and stays as long as the container: so this
 * program, with its libraries, must not be the one. The instance worker is.
 */
#include "agent/worker/move/instance_job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "migration/criu_kill.h"
#include "proto/pb.h"

static void become_worker(const struct lx_move *m, const char *path, int sock)
{
	char *argv[] = { (char *)(uintptr_t) "lx-instance-worker", (char *)(uintptr_t)m->job->state_dir,
			 NULL };
	char env_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	/* What is started here works for this move, and can be found (migration/criu_kill.h). */
	char mark[LX_JOB_PATH_MAX + 32];
	char *env[] = { env_path, mark, NULL };

	snprintf(mark, sizeof(mark), LX_MOVE_MARK "=%s/hook", m->dir);
	setsid();
	/* The socket may be there already. */
	if (sock == LX_WORKER_FD)
		fcntl(sock, F_SETFD, 0);
	else if (dup2(sock, LX_WORKER_FD) < 0)
		_exit(127);
	syscall(SYS_close_range, LX_WORKER_FD + 1, ~0u, 0);
	execve(path, argv, env);
	_exit(127);
}

static int send_job(const struct lx_move *m, Lxmgr__V1__WorkerJob *msg, int sock, struct lx_err *err)
{
	Lxmgr__V1__WorkerContext context = LXMGR__V1__WORKER_CONTEXT__INIT;

	lx_job_context(m->job, &context);
	msg->context = &context;
	int r = lx_worker_send_job(sock, msg, NULL, err);

	msg->context = NULL;
	return r;
}

int lx_instance_job_start(const struct lx_move *m, Lxmgr__V1__WorkerJob *msg, struct lx_instance_job *ret,
			  struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(m->libexec, "lx-instance-worker");
	struct lx_instance_job j = LX_INSTANCE_JOB_NONE;
	int theirs;
	int r = path ? lx_worker_socketpair(&j.sock, &theirs, err) : lx_err_oom(err);

	if (r < 0)
		return r;
	/* We wait, where an agent would not. */
	(void)fcntl(j.sock, F_SETFL, 0);
	j.pid = fork();
	if (j.pid == 0)
		become_worker(m, path, theirs);
	r = j.pid < 0 ? lx_err_errno(err, errno, "cannot start %s", path) : 0;
	close(theirs);
	if (r == 0)
		r = send_job(m, msg, j.sock, err);
	if (r < 0) {
		close(j.sock);
		if (j.pid > 0) {
			kill(j.pid, SIGKILL);
			waitpid(j.pid, NULL, 0);
		}
		return r;
	}
	*ret = j;
	return 0;
}

int lx_instance_job_wait(struct lx_instance_job *j, Lxmgr__V1__WorkerReport **ret_result, struct lx_err *err)
{
	Lxmgr__V1__WorkerReport *report = NULL;
	int extra = -1, r;

	do {
		lx_pb_free(report);
		report = NULL;
		r = lx_worker_recv_report(j->sock, &report, &extra, err);
		if (extra >= 0)
			close(extra);
	} while (r > 0 && report->what_case != LXMGR__V1__WORKER_REPORT__WHAT_RESULT &&
		 report->what_case != LXMGR__V1__WORKER_REPORT__WHAT_ERROR);
	close(j->sock);
	waitpid(j->pid, NULL, 0);
	*j = LX_INSTANCE_JOB_NONE;
	if (r == 0)
		r = lx_err_set(err, LX_INTERNAL, "the worker that calls liblxc went away");
	else if (r > 0)
		r = report->what_case == LXMGR__V1__WORKER_REPORT__WHAT_ERROR
			    ? lx_worker_error_get(report->error, err)
			    : 0;
	if (r == 0 && ret_result)
		*ret_result = lx_move_ptr(report);
	lx_pb_free(report);
	return r;
}
