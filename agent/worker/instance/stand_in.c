/*
 * This program under the name "criu", first in liblxc's PATH: it stands in for CRIU.
 *
 * A restore begins long before the instance's files and its dump are complete, so that nothing
 * of its start has to be waited for while the guest is frozen: liblxc, its cgroups, its monitor,
 * and CRIU itself, which looks at the kernel first and then at the dump's inventory. That one is
 * a pipe here. CRIU comes to stand at it, and goes on when a process that was left beside it, in
 * the same mount namespace, has heard that all is there, has mounted the root file system and
 * puts the inventory in.
 *
 * CRIU gets the options that liblxc does not know, and not those that a move does not want.
 * Asked for anything else this is CRIU at once.
 */
#include "agent/worker/instance/stand_in.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/instance/guest.h"
#include "agent/worker/instance/job.h"
#include "agent/worker/instance/rootfs.h"
#include "agent/worker/instance/spec.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/oom.h"
#include "migration/criu.h"
#include "migration/hidden_pages.h"
#include "migration/hook_ask.h"
#include "migration/policy_namespace.h"
#include "profiles/apparmor_namespace.h"

#define ARGS_MAX 256
#define JOB_MAX  LX_WORKER_DATAGRAM_MAX
/* CRIU looks at the kernel for a tenth of a second at most, and mostly has done so by then. */
#define CRIU_POLL_MS 1

static int refuse(const struct lx_err *err)
{
	/* liblxc keeps what is written here. */
	fprintf(stderr, "lxmgr: %s\n", err->msg);
	return EXIT_FAILURE;
}

/* The job that liblxc's caller has. */
static int read_job(struct lx_job *job, struct lx_err *err)
{
	const char *path = getenv(LX_STAND_IN_JOB);
	lx_autobuf struct lx_buf data = { 0 };

	if (!path)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "there is no job in " LX_STAND_IN_JOB);
	int r = lx_read_file(path, JOB_MAX, &data, err);

	if (r < 0)
		return r;
	Lxmgr__V1__WorkerJob *msg = lxmgr__v1__worker_job__unpack(NULL, data.len, data.data);

	if (!msg || msg->job_case != LXMGR__V1__WORKER_JOB__JOB_RESTORE)
		return lx_err_set(err, LX_DATA_LOSS, "%s holds no restore", path);
	return lx_job_init(job, msg, err);
}

/* Where liblxc has told CRIU that the root is. */
static const char *root_of(int argc, char *const *argv)
{
	for (int i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], "--root") == 0)
			return argv[i + 1];
	return NULL;
}

static int mount_root(const struct lx_job *job, const char *root, struct lx_err *err)
{
	lx_autoclose int userns = -1, fd = -1;
	char path[LX_JOB_PATH_MAX];
	const lx_spec *spec;
	int r = lx_spec_of_job(job, &spec, err);

	if (r == 0)
		r = userns = lx_userns_open(spec->idmap_base, spec->idmap_size, err);
	if (r >= 0)
		r = lx_rootfs_mount(job, spec, userns, &fd, err);
	if (r < 0)
		return r;
	/* Over what liblxc has bound there while it was still empty. */
	lx_job_path(job, path, "rootfs");
	if (!root || mount(path, root, NULL, MS_BIND, NULL) < 0)
		return lx_err_errno(err, root ? errno : EINVAL,
				    "cannot mount the root file system of %s for CRIU", job->name);
	return 0;
}

/* ------------------------------------------------------------------ the pipe */

static int make_pipe(const char *images, char path[LX_JOB_PATH_MAX], struct lx_err *err)
{
	snprintf(path, LX_JOB_PATH_MAX, "%s/" LX_CRIU_INVENTORY, images);
	(void)unlink(path);
	return mkfifo(path, 0600) < 0 ? lx_err_errno(err, errno, "cannot make %s", path) : 0;
}

/* Waits for CRIU, which may still be on its way, but not for one that has gone. */
static int open_pipe(const char *path, pid_t criu, struct lx_err *err)
{
	for (;;) {
		int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

		if (fd >= 0 || errno != ENXIO || kill(criu, 0) < 0)
			return fd < 0 ? lx_err_errno(err, errno, "CRIU does not read %s", path) : fd;
		(void)poll(NULL, 0, CRIU_POLL_MS);
	}
}

/* It is smaller than a pipe: this does not block. */
static int fill_pipe(const char *images, int fd, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	lx_autobuf struct lx_buf data = { 0 };

	snprintf(path, sizeof(path), "%s/" LX_CRIU_INVENTORY_KEPT, images);
	int r = lx_read_file(path, PIPE_BUF, &data, err);

	if (r == 0 && write(fd, data.data, data.len) != (ssize_t)data.len)
		r = lx_err_errno(err, errno, "cannot give CRIU its inventory");
	return r;
}

/* The process beside CRIU. An empty pipe makes CRIU give up. */
static int let_go(const struct lx_job *job, const char *root, const char *pipe, pid_t criu)
{
	struct lx_err err = LX_ERR_INIT;
	int refused = lx_hook_ask("stand-in", "0");
	int r = refused ? 0 : mount_root(job, root, &err);
	lx_autoclose int fd = open_pipe(pipe, criu, &err);

	if (!refused && r == 0 && fd >= 0)
		r = fill_pipe(job->msg->restore->images, fd, &err);
	return r < 0 || fd < 0 ? refuse(&err) : refused;
}

/* Not CRIU's child: that would wait for it. */
static int leave_behind(const struct lx_job *job, const char *root, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	pid_t criu = getpid();
	int r = make_pipe(job->msg->restore->images, path, err);

	if (r < 0)
		return r;
	pid_t child = fork();

	if (child == 0)
		_exit(fork() == 0 ? let_go(job, root, path, criu) : EXIT_SUCCESS);
	if (child < 0 || waitpid(child, NULL, 0) < 0)
		return lx_err_errno(err, errno, "cannot start what CRIU has to wait for");
	return 0;
}

/* ------------------------------------------------------------------ CRIU's arguments */

/*
 * What is ours to do: "--external veth[eth0]:...". And a label that has a part for the guest's own
 * profiles: CRIU gives each process what it had, but puts it together wrongly out of such a one
 * ("lsm-profile", criu/apparmor.c, CRIU 4.2).
 */
static bool is_dropped(char *const *arg)
{
	if (!arg[1])
		return false;
	if (strcmp(arg[0], "--lsm-profile") == 0)
		return strstr(arg[1], LX_APPARMOR_STACKED) != NULL;
	return strcmp(arg[0], "--external") == 0 &&
	       (strncmp(arg[1], "veth[", 5) == 0 || strncmp(arg[1], "macvlan[", 8) == 0);
}

/* A restore without it takes a little longer, no more. */
static void load_into_criu(const struct lx_job *job)
{
	lx_autofree char *library = lx_path_join(job->libexec_dir, LX_HIDDEN_PAGES_LIBRARY);
	char namespace[LX_APPARMOR_NAMESPACE_MAX];

	lx_apparmor_namespace_name(job->cgroup_root, job->name, namespace);
	(void)setenv(LX_POLICY_NAMESPACE, namespace, 1);
	if (library)
		(void)setenv("LD_PRELOAD", library, 1);
}

static int become_criu(const char *criu, int argc, char **argv, char *options, struct lx_err *err)
{
	char *args[ARGS_MAX], *save = NULL;
	int n = 0;

	for (int i = 0; i < argc && n < ARGS_MAX - 1; i++) {
		if (is_dropped(&argv[i]))
			i++;
		else
			args[n++] = argv[i];
	}
	for (char *o = strtok_r(options, "\n", &save); o && n < ARGS_MAX - 1; o = strtok_r(NULL, "\n", &save))
		args[n++] = o;
	args[n] = NULL;
	/* What it restores is the guest's; once that is born it is spared again
	 * (migration/preload/scripts.c). */
	(void)lx_oom_spare_less(LX_OOM_USUAL);
	execv(criu, args);
	return lx_err_errno(err, errno, "cannot run %s", criu);
}

int lx_stand_in(int argc, char **argv)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_job job = { .report = -1 };
	char none[] = "";

	lx_log_init("lxmgr", LX_LOG_WARN);
	if (read_job(&job, &err) < 0)
		return refuse(&err);
	const Lxmgr__V1__RestoreJob *restore = job.msg->restore;

	if (argc > 1 && strcmp(argv[1], "restore") == 0) {
		if (leave_behind(&job, root_of(argc, argv), &err) < 0)
			return refuse(&err);
		load_into_criu(&job);
		(void)become_criu(restore->criu, argc, argv, restore->options, &err);
	} else {
		(void)become_criu(restore->criu, argc, argv, none, &err);
	}
	return refuse(&err);
}
