/*
 * Starting an instance, and creating it first where it does not exist.
 *
 * The happy path: nothing of it runs and nothing of an earlier run is left; the root file
 * system is mounted in a mount namespace of ours, and so is what it has of the node's (devices.h);
 * the configuration is written; liblxc
 * forks off the monitor and starts init; the record of the run is written.
 *
 * Whatever fails, the worker cleans up what it had started. When it is killed instead, the
 * mounts end with it, and liblxc's monitor, should it exist already, goes on by itself: a
 * later job finds it through its command socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lxc/lxccontainer.h>

#include "agent/worker/instance/device_filter.h"
#include "agent/worker/instance/filter_cache.h"
#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/intercepts.h"
#include "agent/worker/instance/proxies.h"
#include "agent/worker/instance/run.h"
#include "agent/worker/instance/shield.h"
#include "agent/worker/instance/veth.h"
#include "lib/cleanup.h"
#include "lib/fs.h"

/*
 * Any init but systemd, which keeps a journal, is started by the guest's shell with its
 * output appended to a file of the guest's: a file and not /dev/console, because an inittab
 * that starts a shell on the console would read the log as its input. The second exec is for
 * when the file cannot be written.
 */
#define INIT_WITH_LOG                                                                                        \
	"[ -d /var/log ] || mkdir -p /var/log; (: >>" LX_CONSOLE_LOG ") && exec " LX_GUEST_INIT              \
	" >>" LX_CONSOLE_LOG " 2>&1; exec " LX_GUEST_INIT

/* The end of the log that is searched for the cause of a failure. */
#define LOG_TAIL_MAX 65536

/* ------------------------------------------------------------------ before */

/* 1: it runs as it should; 0: it does not run. */
static int check_running(const struct lx_job *job, const lx_spec *spec, struct lx_run *run,
			 struct lx_err *err)
{
	lx_autospec lx_spec *stored = NULL;

	/* New: the specification is there before liblxc is called. Asking liblxc costs a process. */
	if (!lx_spec_exists(job))
		return 0;
	int r = lx_run_find(job, run, err);

	if (r <= 0)
		return r;
	if (lx_spec_load(job, &stored, NULL) == 0 && lx_spec_equal(stored, spec))
		return 1;
	return lx_err_set(err, LX_FAILED_PRECONDITION, "%s is running already, with another configuration",
			  job->name);
}

static int check_card(const struct lx_job *job, const Lxmgr__V1__Nic *nic, struct lx_err *err)
{
	if (if_nametoindex(nic->bridge) == 0) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION,
				   "network bridge %s does not exist on this node", nic->bridge);
		lx_err_hint(err,
			    "%s of %s is plugged into network %s: lxmgr network show %s says what is "
			    "wrong with it.",
			    nic->name, job->name, nic->network, nic->network);
		return r;
	}
	/* Nothing of this instance runs: what has the name is left from before. */
	return lx_veth_delete(nic->host_name, err);
}

/* The guest's root must be able to walk to its own file system. */
static int check_path(const struct lx_job *job, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s/instances", job->state_dir);
	for (;;) {
		if (stat(path, &st) == 0 && !(st.st_mode & S_IXOTH)) {
			int r = lx_err_set(
				err, LX_FAILED_PRECONDITION,
				"containers cannot be reached through the directory %s (mode %04o)", path,
				st.st_mode & 07777);

			lx_err_hint(err, "Let others pass: chmod o+x %s", path);
			return r;
		}
		char *slash = strrchr(path, '/');

		if (!slash || slash == path)
			return 0;
		*slash = '\0';
	}
}

static int make_ready(const struct lx_job *job, const lx_spec *spec, const struct lx_cgroups *cg,
		      struct lx_guest_init *ret_init, struct lx_err *err)
{
	lx_autoclose int root = -1;
	struct lx_devices devices = { 0 };
	int r = lx_spec_is_privileged(spec) ? lx_shield_check(job->name, err) : 0;

	if (r == 0)
		r = lx_instance_wipe(job, cg, err);
	for (size_t i = 0; i < spec->n_nics && r == 0; i++)
		r = check_card(job, spec->nics[i], err);
	if (r == 0)
		r = lx_instance_prepare(job, spec, &root, err);
	if (r == 0)
		r = check_path(job, err);
	if (r == 0)
		r = lx_devices_prepare(job, spec, root, &devices, err);
	if (r == 0)
		r = lx_instance_configure(job, spec, cg, &devices, root, ret_init, err);
	/* Makes the cgroup that liblxc's will be in: last, so that a refusal leaves none. */
	if (r == 0)
		r = lx_device_filter_set(job, cg, &devices, lx_spec_is_privileged(spec), err);
	lx_devices_release(&devices);
	return r;
}

/* ------------------------------------------------------------------ liblxc */

static void read_log_tail(const struct lx_job *job, char out[LOG_TAIL_MAX + 1])
{
	char path[LX_JOB_PATH_MAX];
	struct stat st;

	lx_job_path(job, path, "lxc.log");
	lx_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	out[0] = '\0';
	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	off_t from = st.st_size > LOG_TAIL_MAX ? st.st_size - LOG_TAIL_MAX : 0;
	ssize_t n = lseek(fd, from, SEEK_SET) < 0 ? -1 : lx_read_full(fd, out, LOG_TAIL_MAX);

	out[n < 0 ? 0 : n] = '\0';
}

static int explain(const struct lx_job *job, struct lx_err *err)
{
	lx_autofree char *log = malloc(LOG_TAIL_MAX + 1);

	if (!log)
		return lx_err_oom(err);
	read_log_tail(job, log);
	return lx_lxc_log_explain(job->name, log, err);
}

/* Each start begins its own log, so that what it holds is about this run. */
static void begin_log(const struct lx_job *job)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_path(job, path, "lxc.log");
	(void)unlink(path);
}

static int run_lxc(const struct lx_job *job, const struct lx_guest_init *init, pid_t *ret_init,
		   struct lx_err *err)
{
	char sh[] = "/bin/sh", option[] = "-c", script[] = INIT_WITH_LOG;
	char *argv[] = { sh, option, script, NULL };

	begin_log(job);
	/* Reads <instance>/config. */
	struct lxc_container *c = lxc_container_new(job->name, job->lxc_path);

	if (!c || !c->lxc_conf) {
		if (c)
			lxc_container_put(c);
		return explain(job, err);
	}
	c->want_daemonize(c, true);
	/* The monitor must keep none of ours open, the agent's socket least of all. */
	c->want_close_all_fds(c, true);
	/* Memory freed so far goes back to the system: it would stay in the monitor. */
	malloc_trim(0);
	lx_filter_cache_open(job, true);
	bool started = c->start(c, 0, !init->systemd && init->shell ? argv : NULL);

	lx_filter_cache_close(job, started);
	*ret_init = started ? c->init_pid(c) : -1;
	lxc_container_put(c);
	return started && *ret_init > 0 ? 0 : explain(job, err);
}

/* Host ends of the cards, copied out of the specification. */
struct veths {
	char **names;
	size_t n;
};

static int copy_veths(const lx_spec *spec, struct veths *ret)
{
	ret->names = calloc(spec->n_nics + 1, sizeof(*ret->names));
	if (!ret->names)
		return -ENOMEM;
	for (; ret->n < spec->n_nics; ret->n++) {
		ret->names[ret->n] = strdup(spec->nics[ret->n]->host_name);
		if (!ret->names[ret->n])
			return -ENOMEM;
	}
	return 0;
}

static void release_veths(struct veths *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->names[i]);
	free(v->names);
}

/* Programs beside the instance that wait to hear of its guest; -1: there is none. */
struct companions {
	int proxies, intercepts;
};

static int tell_companions(struct lx_job *job, struct companions *c, const struct lx_run *run,
			   struct lx_err *err)
{
	int r = lx_intercepts_guest_runs(job, lx_move_fd(c->intercepts), run, err);

	return r < 0 ? r : lx_proxies_guest_runs(job, lx_move_fd(c->proxies), run, err);
}

static void drop_companions(struct companions *c)
{
	if (c->proxies >= 0)
		close(lx_move_fd(c->proxies));
	if (c->intercepts >= 0)
		close(lx_move_fd(c->intercepts));
}

static int launch(struct lx_job *job, const struct lx_cgroups *cg, const struct lx_guest_init *guest_init,
		  const struct veths *veths, struct companions *companions, struct lx_run *run,
		  struct lx_err *err)
{
	lx_autobuf struct lx_buf home = { 0 };
	pid_t init = -1;
	int r = lx_cgroup_remember(&home, err);

	if (r == 0)
		r = run_lxc(job, guest_init, &init, err);
	if (r == 0)
		r = lx_run_save(job, init, veths->names, veths->n, 0, run, err);
	if (r == -ESRCH)
		r = explain(job, err);
	if (r == 0)
		r = tell_companions(job, companions, run, err);
	drop_companions(companions);
	if (r < 0 && lx_cgroup_go_back(cg, &home, NULL) == 0)
		(void)lx_instance_wipe(job, cg, NULL);
	return r;
}

/* ------------------------------------------------------------------ the verb */

static int start(struct lx_job *job, struct lx_run *run, struct lx_err *err)
{
	struct lx_cgroups cg;
	struct lx_guest_init init;
	struct veths veths = { 0 };
	const lx_spec *spec;
	/* Left for one of our own, in which the guest's file system is mounted. */
	lx_autoclose int mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	struct companions companions = { -1, -1 };
	int r = lx_spec_of_job(job, &spec, err);

	if (r == 0)
		r = check_running(job, spec, run, err);
	if (r != 0)
		return r;
	r = lx_cgroups_find(&cg, err);
	if (r == 0)
		r = copy_veths(spec, &veths) < 0 ? lx_err_oom(err) : lx_seccomp_log(spec, err);
	if (r == 0)
		r = lx_compat_deny(spec, err);
	if (r == 0)
		r = make_ready(job, spec, &cg, &init, err);
	if (r == 0) {
		r = lx_intercepts_start(job, &cg, spec, mounts, &companions.intercepts, err);
		if (r == 0)
			r = lx_proxies_start(job, &cg, spec, mounts, &companions.proxies, err);
		if (r < 0) {
			drop_companions(&companions);
			(void)lx_instance_wipe(job, &cg, NULL);
		}
	}
	if (r == 0) {
		lx_job_drop_message(job);
		r = launch(job, &cg, &init, &veths, &companions, run, err);
	}
	release_veths(&veths);
	return r;
}

int lx_job_start(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	struct lx_run run;
	int r = start(job, &run, err);

	if (r < 0) {
		lx_err_wrap(err, "cannot start %s", job->name);
		return r;
	}
	lx_run_tell(&run, result);
	return 0;
}
