/*
 * Starting a program in a guest, the node's half.
 *
 * liblxc enters the namespaces, cgroups, LSM profile and system call filter and calls
 * lx_attached_main() in there. That one gets everything ready, tells over a socket how it
 * went, with the master of the terminal beside it, and executes the program.
 */
#include "agent/worker/instance/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lxc/lxccontainer.h>

#include "agent/worker/instance/cgroup.h"
#include "agent/worker/instance/filter_cache.h"
#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/intercepts.h"
#include "agent/worker/instance/run.h"
#include "agent/worker/instance/shield.h"
#include "lib/cleanup.h"
#include "lib/fd_pass.h"
#include "lib/oom.h"
#include "lib/fs.h"
#include "lib/str.h"

/* /dev/ptmx */
#define PTMX_MAJOR 5
#define PTMX_MINOR 2

/* A move and a snapshot freeze it for a moment: who asks for a command need not know of that. */
#define FROZEN_MS 2000u
#define LOOK_MS   20u

static bool stays_frozen(const struct lx_cgroups *cg, const struct lx_job *job)
{
	for (unsigned ms = 0; ms < FROZEN_MS && lx_cgroup_frozen(cg, job); ms += LOOK_MS)
		usleep(LOOK_MS * 1000);
	return lx_cgroup_frozen(cg, job);
}

static int check_ready(const struct lx_job *job, struct lx_err *err)
{
	struct lx_cgroups cg;
	struct lx_run run;
	int r = lx_run_require(job, &run, err);

	if (r == 0)
		r = lx_cgroups_find(&cg, err);
	if (r < 0 || !lx_cgroup_frozen(&cg, job))
		return r;
	/* It may have moved away meanwhile. */
	if (!stays_frozen(&cg, job))
		return lx_run_require(job, &run, err);
	r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s is frozen", job->name);
	lx_err_hint(err, "Thaw it first: lxmgr unfreeze %s", job->name);
	return r;
}

/*
 * The descriptor comes out of the guest, whose root decides what its /dev/ptmx is. Anything
 * but a real master could block whoever reads it.
 */
static int check_pty(int fd, struct lx_err *err)
{
	struct statfs fs;
	struct stat st;
	unsigned number;

	if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) == PTMX_MAJOR &&
	    minor(st.st_rdev) == PTMX_MINOR && fstatfs(fd, &fs) == 0 && fs.f_type == DEVPTS_SUPER_MAGIC &&
	    ioctl(fd, TIOCGPTN, &number) == 0)
		return 0;
	return lx_err_set(err, LX_FAILED_PRECONDITION, "the guest's /dev/pts/ptmx gives no terminal");
}

/* 0 and perhaps a descriptor; a negative errno when it failed or died. */
static int receive_outcome(int channel, int *ret_pty, struct lx_err *err)
{
	struct lx_attached_outcome outcome;
	lx_autoclose int pty = -1;
	ssize_t n = lx_fd_recv(channel, &outcome, sizeof(outcome), &pty);

	*ret_pty = -1;
	if (n != sizeof(outcome))
		return lx_err_set(err, LX_INTERNAL, "the process that entered it ended early");
	if (outcome.r < 0) {
		if (err)
			*err = outcome.err;
		return outcome.r;
	}
	*ret_pty = pty >= 0 ? lx_move_fd(pty) : -1;
	return 0;
}

/* What the guest's own processes have from its start. */
static int confine(const struct lx_job *job, struct lx_err *err)
{
	lx_autospec lx_spec *spec = NULL;
	int r = lx_spec_load(job, &spec, err);

	if (r == 0 && lx_spec_is_privileged(spec))
		r = lx_shield_check(job->name, err);
	if (r == 0)
		r = lx_seccomp_log(spec, err);
	return r < 0 ? r : lx_compat_deny(spec, err);
}

/* How often the instance has been at its limit of processes; 0 where that is not counted. */
static unsigned long long times_full(const struct lx_job *job)
{
	char path[LX_JOB_PATH_MAX], line[64];
	struct lx_cgroups cg;

	if (lx_cgroups_find(&cg, NULL) < 0)
		return 0;
	lx_cgroup_path(&cg, lx_cgroup_hierarchy(&cg, "pids"), job, "/payload/pids.events", path);
	return lx_read_line(path, line, sizeof(line)) == 0 && lx_starts_with(line, "max ")
		       ? strtoull(line + strlen("max "), NULL, 10)
		       : 0;
}

/* liblxc does not say why. */
static int not_entered(const struct lx_job *job, unsigned long long was_full, struct lx_err *err)
{
	int r;

	if (times_full(job) > was_full) {
		r = lx_err_set(
			err, LX_RESOURCE_EXHAUSTED,
			"cannot enter %s: it has as many processes and threads as limits.processes allows",
			job->name);
		lx_err_hint(
			err,
			"Allow more (lxmgr config set %s limits.processes=N), or restart it with --force.",
			job->name);
		return r;
	}
	r = lx_err_set(err, LX_INTERNAL, "cannot enter %s", job->name);
	lx_err_hint(err, "%.200s/lxc.log on its node says more.", job->dir);
	return r;
}

static int attach(const struct lx_job *job, struct lx_attached *attached, pid_t *ret_pid, struct lx_err *err)
{
	lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
	char root[] = "/";
	struct lxc_container *c = lxc_container_new(job->name, job->lxc_path);
	int r;

	if (!c)
		return lx_err_oom(err);
	/* Its warnings come with each attach and would fill the log of the start. */
	(void)c->set_config_item(c, "lxc.log.level", "error");
	options.env_policy = LXC_ATTACH_CLEAR_ENV;
	options.initial_cwd = root;
	/*
	 * Those that enter are processes of the guest's before they are its root's: still user 0 of the node,
	 * with our memory and descriptors. Whoever may trace one of them is user 0. Entering a user namespace
	 * does not take that from its root, who would be let in: this does, for us and our children until
	 * they execute a program of the guest's.
	 */
	if (prctl(PR_SET_DUMPABLE, 0) < 0) {
		lxc_container_put(c);
		return lx_err_errno(err, errno, "cannot hide from %s what enters it", job->name);
	}
	lx_filter_cache_open(job, false);
	/* The guest's, and for its root nothing to go back to. */
	int adj = lx_oom_spare_less(LX_OOM_USUAL);
	unsigned long long was_full = times_full(job);

	r = c->attach(c, lx_attached_main, attached, &options, ret_pid);
	lx_oom_set(adj);
	lx_filter_cache_close(job, true);
	lxc_container_put(c);
	return r == 0 ? 0 : not_entered(job, was_full, err);
}

int lx_program_start(const struct lx_job *job, const struct lx_program *program, pid_t *ret_pid, int *ret_pty,
		     struct lx_err *err)
{
	int pair[2];
	int r = check_ready(job, err);

	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return lx_err_errno(err, errno, "cannot make a socket pair");
	lx_autoclose int ours = pair[0];
	struct lx_attached attached = { .program = program, .channel = pair[1] };

	int intercepts = -1;

	r = confine(job, err);
	if (r == 0)
		r = lx_intercepts_enter(job, &intercepts, err);
	if (r == 0)
		r = attach(job, &attached, ret_pid, err);
	close(pair[1]);
	if (r < 0)
		return r;
	r = lx_intercepts_entered(job, intercepts, err);
	if (r == 0)
		r = receive_outcome(ours, ret_pty, err);
	if (r == 0 && program->terminal)
		r = check_pty(*ret_pty, err);
	if (r < 0) {
		kill(*ret_pid, SIGKILL);
		waitpid(*ret_pid, NULL, 0);
	}
	return r;
}

void lx_program_wait(pid_t pid, Lxmgr__V1__ExecExit *ret)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status)) {
		ret->signal = WTERMSIG(status);
		ret->code = 128 + ret->signal;
	} else {
		ret->code = WEXITSTATUS(status);
	}
}
