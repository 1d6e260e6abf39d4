/*
 * This program under the name "criu", first in liblxc's PATH: it stands in for CRIU.
 *
 * A restore waits here, in the process that liblxc has made for CRIU, until the instance's files
 * and its dump are complete. So liblxc, its cgroups and its monitor are ready before the source
 * is frozen. Then the root file system is mounted, in the mount namespace that liblxc has made
 * for this process, and CRIU takes over with the options that liblxc does not know, and without
 * those that a move does not want. Asked for anything else it is CRIU at once.
 */
#include "agent/worker/instance/stand_in.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "agent/worker/instance/guest.h"
#include "agent/worker/instance/job.h"
#include "agent/worker/instance/rootfs.h"
#include "agent/worker/instance/spec.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "migration/hook_ask.h"

#define ARGS_MAX 256
#define JOB_MAX  LX_WORKER_DATAGRAM_MAX

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

/* ------------------------------------------------------------------ CRIU's arguments */

/* What is ours to do: "--external veth[eth0]:..." */
static bool is_dropped(char *const *arg)
{
	return arg[1] && strcmp(arg[0], "--external") == 0 &&
	       (strncmp(arg[1], "veth[", 5) == 0 || strncmp(arg[1], "macvlan[", 8) == 0);
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
		int r = lx_hook_ask("stand-in", "0");

		if (r != 0)
			return r;
		if (mount_root(&job, root_of(argc, argv), &err) < 0)
			return refuse(&err);
		(void)become_criu(restore->criu, argc, argv, restore->options, &err);
	} else {
		(void)become_criu(restore->criu, argc, argv, none, &err);
	}
	return refuse(&err);
}
