/*
 * Starting what serves calls that stop, and starting it again: liblxc's monitor keeps the listener, so a
 * new one goes on where the last one was.
 */
#include "agent/worker/instance/intercepts.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <lxc/lxccontainer.h>

#include "agent/worker/control_socket.h"
#include "agent/worker/instance/companion.h"
#include "agent/worker/intercept_message.h"
#include "lib/cleanup.h"
#include "lib/fd_pass.h"
#include "lib/fs.h"
#include "profiles/intercept.h"

#define PROGRAM    "lx-intercept"
#define CGROUP     "/intercept"
#define ANSWER_MS  15000
#define POLICY_MAX 65536

/* ------------------------------------------------------------------ what there is */

static int read_spec(const lx_spec *spec, unsigned *ret, struct lx_err *err)
{
	struct lx_map config;
	int r = lx_spec_config(spec, &config, err);

	if (r < 0)
		return r;
	*ret = lx_intercepts(&config);
	lx_map_release(&config);
	return 0;
}

/* An instance is not started with less than was asked for. */
static int check_node(const struct lx_job *job, struct lx_err *err)
{
	uint32_t action = SECCOMP_RET_USER_NOTIF;
	int r = 0;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0)
		r = lx_err_set(err, LX_FAILED_PRECONDITION,
			       "%s has " LX_KEY_INTERCEPT
			       "*, and this node's kernel hands out no system calls",
			       job->name);
	else if (!lxc_has_api_extension("seccomp_notify") ||
		 !lxc_has_api_extension("seccomp_notify_fd_active"))
		r = lx_err_set(err, LX_FAILED_PRECONDITION,
			       "%s has " LX_KEY_INTERCEPT
			       "*, and this node's liblxc hands out no system calls",
			       job->name);
	if (r < 0)
		lx_err_hint(err,
			    "Start it on a node of which lxmgr node show says seccomp-notify: yes, or take "
			    "these keys away.");
	return r;
}

/* The policy that was loaded says it, whatever the configuration has become since. */
unsigned lx_intercepts_running(const struct lx_job *job)
{
	char path[LX_JOB_PATH_MAX], line[64];
	lx_autobuf struct lx_buf text = { 0 };
	unsigned found = 0;

	lx_job_path(job, path, "seccomp");
	if (lx_read_file(path, POLICY_MAX, &text, NULL) < 0)
		return 0;
	for (unsigned i = 0; lx_intercepted_calls[i].name; i++) {
		snprintf(line, sizeof(line), "\n%s notify", lx_intercepted_calls[i].name);
		if (strstr(lx_buf_str(&text), line))
			found |= 1U << i;
	}
	return found;
}

/* ------------------------------------------------------------------ talking */

static int broken(const struct lx_job *job, struct lx_err *err)
{
	return lx_err_set(err, LX_UNAVAILABLE, "the one that makes system calls for %s does not answer",
			  job->name);
}

static int wait_for(const struct lx_job *job, int fd, struct lx_err *err)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ANSWER_MS) > 0 ? 0 : broken(job, err);
}

static int ask(const struct lx_job *job, int fd, const struct lx_intercept_request *q, int extra,
	       struct lx_err *err)
{
	int32_t answer;
	int r = lx_fd_send(fd, q, sizeof(*q), extra);

	r = r < 0 ? broken(job, err) : wait_for(job, fd, err);
	if (r < 0)
		return r;
	if (recv(fd, &answer, sizeof(answer), 0) != sizeof(answer))
		return broken(job, err);
	return answer < 0 ? lx_err_errno(err, answer, "system calls cannot be made for %s", job->name) : 0;
}

static int tell_monitor(const struct lx_job *job, int fd, const struct lx_run *run, struct lx_err *err)
{
	struct lx_intercept_request q = { .kind = LX_INTERCEPT_MONITOR,
					  .monitor = run->monitor,
					  .monitor_start = run->monitor_start };

	return ask(job, fd, &q, -1, err);
}

/* ------------------------------------------------------------------ starting */

/* Its first word: that it is there, or why not. */
static int wait_begun(const struct lx_job *job, int fd, struct lx_err *err)
{
	Lxmgr__V1__WorkerReport *report = NULL;
	int extra = -1, r = wait_for(job, fd, err);

	if (r < 0)
		return r;
	if (lx_worker_recv_report(fd, &report, &extra, NULL) != 1)
		return lx_err_set(err, LX_INTERNAL, PROGRAM " of %s has ended", job->name);
	r = report->what_case == LXMGR__V1__WORKER_REPORT__WHAT_ERROR
		    ? lx_worker_error_get(report->error, err)
		    : 0;
	lxmgr__v1__worker_report__free_unpacked(report, NULL);
	return r;
}

static int start(const struct lx_job *job, const struct lx_cgroups *cg, int mounts, int *ret_fd,
		 struct lx_err *err)
{
	char *const argv[] = { (char *)(uintptr_t)PROGRAM,       (char *)(uintptr_t)job->run_dir,
			       (char *)(uintptr_t)job->lxc_path, (char *)(uintptr_t)job->cgroup_root,
			       (char *)(uintptr_t)job->name,     NULL };
	lx_autoclose int fd = -1;
	int r = lx_companion_start(job, cg, &(struct lx_companion){ PROGRAM, CGROUP, argv }, mounts, &fd,
				   err);

	if (r == 0)
		r = wait_begun(job, fd, err);
	if (r < 0)
		return r;
	*ret_fd = lx_move_fd(fd);
	return 0;
}

int lx_intercepts_start(const struct lx_job *job, const struct lx_cgroups *cg, const lx_spec *spec,
			int mounts, int *ret_fd, struct lx_err *err)
{
	unsigned what = 0;
	int r = read_spec(spec, &what, err);

	*ret_fd = -1;
	if (r < 0 || !what)
		return r;
	r = check_node(job, err);
	return r < 0 ? r : start(job, cg, mounts, ret_fd, err);
}

int lx_intercepts_guest_runs(const struct lx_job *job, int fd, const struct lx_run *run, struct lx_err *err)
{
	lx_autoclose int channel = fd;

	return channel < 0 ? 0 : tell_monitor(job, channel, run, err);
}

void lx_intercepts_forget(const struct lx_job *job)
{
	char path[LX_JOB_PATH_MAX];

	lx_control_forget(job->run_dir, job->name, LX_CONTROL_INTERCEPT);
	snprintf(path, sizeof(path), "%s/%s.calls", job->run_dir, job->name);
	(void)unlink(path);
}

/* ------------------------------------------------------------------ starting again */

static int start_again(const struct lx_job *job, const struct lx_run *run, struct lx_err *err)
{
	struct lx_cgroups cg;
	lx_autoclose int fd = -1;
	int r = lx_cgroups_find(&cg, err);

	if (r == 0)
		r = start(job, &cg, -1, &fd, err);
	return r < 0 ? r : tell_monitor(job, fd, run, err);
}

int lx_job_intercept(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	struct lx_run run;
	int r = lx_run_require(job, &run, err);

	if (r < 0 || !lx_intercepts_running(job))
		return r;
	lx_autoclose int there = lx_control_connect(job->run_dir, job->name, LX_CONTROL_INTERCEPT, 0, err);

	if (there == -ENOENT)
		return start_again(job, &run, err);
	return there < 0 ? there : 0;
}

/* ------------------------------------------------------------------ who enters later */

int lx_intercepts_serve(const struct lx_job *job, int listener, struct lx_err *err)
{
	struct lx_intercept_request q = { .kind = LX_INTERCEPT_LISTENER };
	lx_autoclose int control = lx_control_connect(job->run_dir, job->name, LX_CONTROL_INTERCEPT, 0, err);

	if (control == -ENOENT) {
		int r = lx_err_set(err, LX_UNAVAILABLE, "nobody makes system calls for %s at this moment",
				   job->name);

		lx_err_hint(err, "The agent starts it again by itself: try again in a second.");
		return r;
	}
	return control < 0 ? control : ask(job, control, &q, listener, err);
}
