/*
 * The record of a run, <run_dir>/<name>.pb.
 *
 * It is written once the container runs and read by every later job. A record is a claim
 * to be checked: the monitor must have the recorded start time and liblxc's title. Init is
 * the recorded one or, after a reboot inside, whatever child the monitor has now.
 */
#include "agent/worker/instance/run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lxc/lxccontainer.h>

#include "agent/worker/instance/proc.h"
#include "lib/cleanup.h"
#include "lib/fs.h"

#define RECORD_MAX 65536
/* A start takes a fraction of that. */
#define ANSWER_TIMEOUT_MS 10000

static void record_path(const struct lx_job *job, char out[LX_JOB_PATH_MAX])
{
	snprintf(out, LX_JOB_PATH_MAX, "%s/%s.pb", job->run_dir, job->name);
}

/* NULL when there is none, or none that can be read: both mean "ask liblxc". */
static Lxmgr__V1__RunRecord *read_record(const struct lx_job *job)
{
	char path[LX_JOB_PATH_MAX];
	lx_autobuf struct lx_buf data = { 0 };

	record_path(job, path);
	if (lx_read_file(path, RECORD_MAX, &data, NULL) < 0 || data.len == 0)
		return NULL;
	return lxmgr__v1__run_record__unpack(NULL, data.len, data.data);
}

static void find_init(struct lx_run *run)
{
	pid_t parent;

	if (lx_proc_is(run->init, run->init_start) && lx_proc_stat(run->init, NULL, &parent) == 0 &&
	    parent == run->monitor)
		return;
	run->init = lx_proc_child(run->monitor);
	if (lx_proc_stat(run->init, &run->init_start, NULL) < 0)
		run->init = 0;
}

int lx_run_load(const struct lx_job *job, struct lx_run *ret, struct lx_err *err)
{
	Lxmgr__V1__RunRecord *rec = read_record(job);

	if (!rec)
		return 0;
	*ret = (struct lx_run){ .monitor = rec->monitor_pid,
				.monitor_start = rec->monitor_start,
				.init = rec->init_pid,
				.init_start = rec->init_start };
	lxmgr__v1__run_record__free_unpacked(rec, NULL);
	if (!lx_proc_is(ret->monitor, ret->monitor_start) ||
	    !lx_proc_is_monitor(ret->monitor, job->lxc_path, job->name))
		return 0;
	find_init(ret);
	return 1;
}

/* Over the monitor's command socket; 0 when there is none. */
static pid_t ask(const struct lx_job *job)
{
	struct lxc_container *c = lxc_container_new(job->name, job->lxc_path);
	pid_t init = c ? c->init_pid(c) : -1;

	lxc_container_put(c);
	return init > 0 ? init : 0;
}

/* liblxc waits for the answer as long as it takes, and a monitor can hang: so a child asks. */
static pid_t ask_liblxc(const struct lx_job *job)
{
	pid_t *answer =
		mmap(NULL, sizeof(*answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (answer == MAP_FAILED)
		return 0;
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		*answer = ask(job);
		_exit(EXIT_SUCCESS);
	}
	if (pid > 0) {
		lx_autoclose int child = (int)syscall(SYS_pidfd_open, pid, 0);

		if (child < 0 || lx_proc_wait(child, ANSWER_TIMEOUT_MS) < 0)
			kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	pid_t init = *answer;

	munmap(answer, sizeof(*answer));
	return init;
}

int lx_run_find(const struct lx_job *job, struct lx_run *ret, struct lx_err *err)
{
	int r = lx_run_load(job, ret, err);

	if (r != 0)
		return r;
	pid_t init = ask_liblxc(job);

	if (init <= 0)
		return 0;
	r = lx_run_save(job, init, NULL, 0, 0, ret, err);
	/* It has ended since it was asked. */
	if (r == -ESRCH)
		return 0;
	return r < 0 ? r : 1;
}

int lx_run_require(const struct lx_job *job, struct lx_run *ret, struct lx_err *err)
{
	int r = lx_run_find(job, ret, err);

	if (r < 0)
		return r;
	if (r == 0 || ret->init == 0)
		return lx_job_not_running(job, err);
	return 0;
}

int lx_run_save(const struct lx_job *job, pid_t init, char **veths, size_t n_veths, int64_t started_at_ns,
		struct lx_run *ret, struct lx_err *err)
{
	struct lx_run run = { .init = init };

	if (lx_proc_stat(init, &run.init_start, &run.monitor) < 0 ||
	    lx_proc_stat(run.monitor, &run.monitor_start, NULL) < 0 ||
	    !lx_proc_is_monitor(run.monitor, job->lxc_path, job->name)) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "%s has stopped", job->name);
		return -ESRCH;
	}
	Lxmgr__V1__RunRecord rec = LXMGR__V1__RUN_RECORD__INIT;
	char path[LX_JOB_PATH_MAX];
	lx_autobuf struct lx_buf data = { 0 };

	rec.monitor_pid = run.monitor;
	rec.monitor_start = run.monitor_start;
	rec.init_pid = run.init;
	rec.init_start = run.init_start;
	rec.started_at_ns = started_at_ns;
	rec.veths = veths;
	rec.n_veths = n_veths;
	if (lx_buf_reserve(&data, lxmgr__v1__run_record__get_packed_size(&rec)) < 0)
		return lx_err_oom(err);
	data.len = lxmgr__v1__run_record__pack(&rec, data.data);
	record_path(job, path);
	int r = lx_mkdir_p(job->run_dir, 0700, err);

	if (r == 0)
		r = lx_write_file_volatile(path, data.data, data.len, 0600, err);
	if (r < 0)
		return r;
	*ret = run;
	return 0;
}

void lx_run_each_veth(const struct lx_job *job, void (*fn)(const char *name, void *arg), void *arg)
{
	Lxmgr__V1__RunRecord *rec = read_record(job);

	if (!rec)
		return;
	for (size_t i = 0; i < rec->n_veths; i++)
		fn(rec->veths[i], arg);
	lxmgr__v1__run_record__free_unpacked(rec, NULL);
}

void lx_run_forget(const struct lx_job *job)
{
	char path[LX_JOB_PATH_MAX];

	record_path(job, path);
	(void)unlink(path);
}

void lx_run_tell(const struct lx_run *run, Lxmgr__V1__WorkerResult *result)
{
	result->running = true;
	result->init_pid = run->init;
	result->monitor_pid = run->monitor;
}
