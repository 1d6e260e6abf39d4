/*
 * Stopping an instance.
 *
 * Clean: init is sent the signal it takes as "shut down", then we wait for the monitor to
 * exit, which it does after init. Forced: everything in the instance's cgroup is killed at
 * one stroke, the monitor included. Either way nothing of the run is left afterwards.
 *
 * A clean stop that takes too long is an error and leaves the guest as it is: whether to
 * use force is the caller's decision.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/proc.h"
#include "agent/worker/instance/run.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

/* For callers that name none. */
#define TIMEOUT_DEFAULT_S 30
#define TIMEOUT_MAX_S     86400
/* How soon init is asked again, at first, and how long it may take to begin to listen. */
#define ASK_AGAIN_MS 50
#define DEAF_MS      3000

/* ------------------------------------------------------------------ which signal */

/* Signals a process waits for: those it catches, and those it blocks to read them from a signalfd. */
static uint64_t awaited_signals(pid_t pid)
{
	static const char *const fields[] = { "\nSigBlk:", "\nSigCgt:" };
	lx_autobuf struct lx_buf text = { 0 };
	char path[64];
	uint64_t set = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (lx_read_file(path, 65536, &text, NULL) < 0)
		return 0;
	for (size_t i = 0; i < LX_ARRAY_SIZE(fields); i++) {
		const char *at = strstr(lx_buf_str(&text), fields[i]);

		if (at)
			set |= strtoull(at + strlen(fields[i]), NULL, 16);
	}
	return set;
}

/* Not any busybox: a shell script as init runs in one, too. */
static bool is_busybox_init(pid_t pid)
{
	char path[64], target[256], argv0[256];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	target[n < 0 ? 0 : n] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	if (lx_read_line(path, argv0, sizeof(argv0)) < 0)
		return false;
	const char *slash = strrchr(argv0, '/');

	return (lx_ends_with(target, "/busybox") || lx_ends_with(target, "/busybox.static")) &&
	       lx_streq(slash ? slash + 1 : argv0, "init");
}

/* What this init takes as a request to shut down; 0 when it would not even notice. */
static int halt_signal(pid_t init)
{
	/* systemd's halt.target; SysV init and others: "power is failing"; plain programs. */
	const int order[] = { SIGRTMIN + 3, SIGPWR, SIGTERM };
	uint64_t awaited = awaited_signals(init);

	/* It waits with sigtimedwait(2), which does not show. SIGTERM would make it reboot. */
	if (is_busybox_init(init))
		return SIGUSR2;
	for (size_t i = 0; i < LX_ARRAY_SIZE(order); i++)
		if (awaited & (UINT64_C(1) << (order[i] - 1)))
			return order[i];
	return 0;
}

/* ------------------------------------------------------------------ clean */

static int no_clean_stop(const struct lx_job *job, enum lx_code code, const char *why, struct lx_err *err)
{
	int r = lx_err_set(err, code, "%s %s", job->name, why);

	lx_err_hint(err, "Stop it without asking the guest: lxmgr stop %s --force", job->name);
	return r;
}

/*
 * An init that has just been started misses what it is sent before it listens: it is asked again
 * after 50 ms, 100 ms, 200 ms ... One that listens to nothing after DEAF_MS never will. 0 when the
 * monitor has gone, -ETIMEDOUT, or another negative errno.
 */
static int ask_until_gone(pid_t init_pid, int init, int monitor, int timeout_ms, bool *ret_asked)
{
	for (int waited = 0, pause = ASK_AGAIN_MS; waited < timeout_ms; waited += pause, pause *= 2) {
		int sig = halt_signal(init_pid);
		int r = sig ? lx_proc_signal(init, sig) : 0;

		*ret_asked |= sig != 0;
		if (r < 0 && r != -ESRCH)
			return r;
		if (!*ret_asked && waited >= DEAF_MS)
			break;
		if (pause > timeout_ms - waited)
			pause = timeout_ms - waited;
		r = lx_proc_wait(monitor, pause);
		if (r != -ETIMEDOUT)
			return r;
	}
	return -ETIMEDOUT;
}

static int stop_clean(const struct lx_job *job, const struct lx_cgroups *cg, const struct lx_run *run,
		      struct lx_err *err)
{
	uint32_t seconds = job->msg->stop->timeout_seconds;
	lx_autoclose int monitor = lx_proc_open(run->monitor, run->monitor_start);
	lx_autoclose int init = lx_proc_open(run->init, run->init_start);

	/* Gone in this moment: that is what was asked for. */
	if (monitor == -ESRCH)
		return 0;
	if (init == -ESRCH)
		return no_clean_stop(job, LX_FAILED_PRECONDITION, "is rebooting", err);
	if (monitor < 0 || init < 0)
		return lx_err_errno(err, monitor < 0 ? monitor : init, "cannot open the processes");
	if (lx_cgroup_frozen(cg, job))
		return no_clean_stop(job, LX_FAILED_PRECONDITION, "is frozen and cannot shut down", err);
	if (seconds == 0)
		seconds = TIMEOUT_DEFAULT_S;
	if (seconds > TIMEOUT_MAX_S)
		seconds = TIMEOUT_MAX_S;
	bool asked = false;
	int r = ask_until_gone(run->init, init, monitor, (int)seconds * 1000, &asked);

	if (r == -ETIMEDOUT && !asked)
		return no_clean_stop(job, LX_FAILED_PRECONDITION,
				     "has an init that heeds no signal to shut down", err);
	if (r == -ETIMEDOUT) {
		char why[64];

		snprintf(why, sizeof(why), "did not shut down within %u s", seconds);
		return no_clean_stop(job, LX_DEADLINE_EXCEEDED, why, err);
	}
	return r < 0 ? lx_err_errno(err, r, "cannot shut down %s", job->name) : 0;
}

/* ------------------------------------------------------------------ the verb */

static int stop(const struct lx_job *job, struct lx_err *err)
{
	struct lx_cgroups cg;
	struct lx_run run;
	int r = lx_cgroups_find(&cg, err);

	if (r < 0)
		return r;
	if (!job->msg->stop->force) {
		r = lx_run_find(job, &run, err);
		if (r == 1)
			r = stop_clean(job, &cg, &run, err);
		if (r < 0)
			return r;
	}
	return lx_instance_clean(job, &cg, err);
}

int lx_job_stop(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	int r = stop(job, err);

	if (r < 0)
		lx_err_wrap(err, "cannot stop %s", job->name);
	return r;
}
