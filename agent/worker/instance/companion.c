/*
 * Starting a program beside an instance. Its parent is the machine's init at once: nobody here waits
 * for it, and it does not end with the worker.
 */
#include "agent/worker/instance/companion.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/oom.h"
#include "lib/str.h"

/* As the agent, by its unit. */
#define SPARED (-900)

/* In the child; what fails here is heard of by the end of its socket. */
static void run(const struct lx_companion *c, const char *program, const char *procs, int mounts, int sock)
{
	char *envp[] = { NULL };

	/* A worker of a move is spared more: not for as long as the guest runs. */
	(void)lx_oom_spare_less(SPARED);
	if (lx_write_knob(procs, "0") < 0 || (mounts >= 0 && setns(mounts, CLONE_NEWNS) < 0) || setsid() < 0)
		return;
	if (dup2(sock, LX_WORKER_FD) < 0)
		return;
	/* Closed by us when it was this one already, which dup2 leaves as it is. */
	(void)fcntl(LX_WORKER_FD, F_SETFD, 0);
	execve(program, c->argv, envp);
}

static int spawn(const struct lx_companion *c, const char *program, const char *procs, int mounts, int sock)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (fork() == 0)
			run(c, program, procs, mounts, sock);
		_exit(0);
	}
	if (pid < 0)
		return -errno;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

int lx_companion_start(const struct lx_job *job, const struct lx_cgroups *cg, const struct lx_companion *c,
		       int mounts, int *ret_fd, struct lx_err *err)
{
	char procs[LX_JOB_PATH_MAX], leaf[64];
	lx_autofree char *program = *job->libexec_dir ? lx_path_join(job->libexec_dir, c->program) : NULL;
	lx_autoclose int ours = -1, its = -1;

	if (!program || access(program, X_OK) < 0) {
		lx_err_set(err, LX_NOT_FOUND, "this node has no program %s", c->program);
		lx_err_hint(err, "It is installed with lxagentd, beside the worker programs.");
		return -ENOENT;
	}
	lx_cgroup_path(cg, cg->v2, job, c->cgroup, procs);
	int r = lx_mkdir_p(procs, 0755, err);

	if (r == 0)
		r = lx_mkdir_p(job->run_dir, 0700, err);
	if (r == 0)
		r = lx_worker_socketpair(&ours, &its, err);
	if (r < 0)
		return r;
	/* The agent's end is non-blocking; we wait. */
	(void)fcntl(ours, F_SETFL, fcntl(ours, F_GETFL) & ~O_NONBLOCK);
	snprintf(leaf, sizeof(leaf), "%s/cgroup.procs", c->cgroup);
	lx_cgroup_path(cg, cg->v2, job, leaf, procs);
	r = spawn(c, program, procs, mounts, its);
	if (r < 0)
		return lx_err_errno(err, r, "cannot start %s", program);
	*ret_fd = lx_move_fd(ours);
	return 0;
}
