/*
 * Reading a job: which instance it is about and where things are. Everything is copied,
 * so that the message can be freed before a container is started: liblxc's monitor is a
 * fork of this process and would keep it in memory for the container's life.
 */
#include "agent/worker/instance/job.h"
#include "lib/qname.h"

#include <stdio.h>
#include <string.h>

#include "agent/worker/disk_quota.h"

static const char *job_name(const Lxmgr__V1__WorkerJob *msg)
{
	switch (msg->job_case) {
	case LXMGR__V1__WORKER_JOB__JOB_EXEC:
		return msg->exec->instance;
	case LXMGR__V1__WORKER_JOB__JOB_CONSOLE_LOG:
		return msg->console_log->instance;
	case LXMGR__V1__WORKER_JOB__JOB_PUSH:
		return msg->push->instance;
	case LXMGR__V1__WORKER_JOB__JOB_PULL:
		return msg->pull->instance;
	case LXMGR__V1__WORKER_JOB__JOB_DELETE_FILE:
		return msg->delete_file->instance;
	default:
		return "";
	}
}

static int take_dir(char out[LX_JOB_DIR_MAX], const char *what, const char *value, struct lx_err *err)
{
	if (strlen(value) == 0 || strlen(value) >= LX_JOB_DIR_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the %s must have 1 to %d bytes, not %zu", what,
				  LX_JOB_DIR_MAX - 1, strlen(value));
	memcpy(out, value, strlen(value) + 1);
	return 0;
}

static int take_context(struct lx_job *job, const Lxmgr__V1__WorkerContext *ctx, struct lx_err *err)
{
	int r;

	if (!ctx)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the job says nothing of its directories");
	if ((r = take_dir(job->state_dir, "state directory", ctx->state_dir, err)) < 0 ||
	    (r = take_dir(job->run_dir, "run directory", ctx->run_dir, err)) < 0 ||
	    (r = take_dir(job->cgroup_root, "cgroup root", ctx->cgroup_root, err)) < 0 ||
	    (r = take_dir(job->lxc_path, "liblxc path", ctx->lxc_path, err)) < 0)
		return r;
	if (*ctx->libexec_dir &&
	    (r = take_dir(job->libexec_dir, "program directory", ctx->libexec_dir, err)) < 0)
		return r;
	if (*ctx->lxcfs_dir && (r = take_dir(job->lxcfs_dir, "directory of lxcfs", ctx->lxcfs_dir, err)) < 0)
		return r;
	/* overlayfs takes its directories in one string with these separators. */
	if (strpbrk(job->state_dir, ":,\\"))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the state directory %s must not contain ':', ',' or '\\'", job->state_dir);
	return 0;
}

int lx_job_init(struct lx_job *job, Lxmgr__V1__WorkerJob *msg, struct lx_err *err)
{
	job->msg = msg;
	const char *name = msg->spec && *msg->spec->name ? msg->spec->name : job_name(msg);
	bool about_one = msg->job_case != LXMGR__V1__WORKER_JOB__JOB_CHECK_POLICY;
	int r = about_one ? lx_qname_check("instance", name, err) : 0;

	if (r < 0)
		return r;
	if (!about_one)
		name = "";
	memcpy(job->name, name, strlen(name) + 1);
	r = take_context(job, msg->context, err);
	if (r < 0)
		return r;
	snprintf(job->dir, sizeof(job->dir), "%s/instances/%s", job->state_dir, job->name);
	return 0;
}

void lx_job_drop_message(struct lx_job *job)
{
	lxmgr__v1__worker_job__free_unpacked(job->msg, NULL);
	job->msg = NULL;
}

void lx_job_release(struct lx_job *job)
{
	lx_job_drop_message(job);
	lx_worker_fds_close(&job->fds);
}

void lx_job_context(const struct lx_job *job, Lxmgr__V1__WorkerContext *ret)
{
	ret->state_dir = (char *)(uintptr_t)job->state_dir;
	ret->run_dir = (char *)(uintptr_t)job->run_dir;
	ret->cgroup_root = (char *)(uintptr_t)job->cgroup_root;
	ret->lxc_path = (char *)(uintptr_t)job->lxc_path;
	ret->libexec_dir = (char *)(uintptr_t)job->libexec_dir;
	ret->lxcfs_dir = (char *)(uintptr_t)job->lxcfs_dir;
}

void lx_job_path(const struct lx_job *job, char out[LX_JOB_PATH_MAX], const char *leaf)
{
	snprintf(out, LX_JOB_PATH_MAX, "%s/%s", job->dir, leaf);
}

void lx_job_own_path(const struct lx_job *job, char out[LX_JOB_PATH_MAX], const char *leaf)
{
	char dir[LX_QUOTA_PATH_MAX];

	lx_quota_own_dir(job->dir, dir, sizeof(dir));
	snprintf(out, LX_JOB_PATH_MAX, "%.*s/%s", LX_JOB_DIR_MAX + LX_NAME_MAX + 32, dir, leaf);
}

int lx_job_not_running(const struct lx_job *job, struct lx_err *err)
{
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s is not running", job->name);

	lx_err_hint(err, "Start it first: lxmgr start %s", job->name);
	return r;
}
