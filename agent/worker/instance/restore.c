/*
 * Bringing back a dumped instance: its processes as they were, under a liblxc monitor of this
 * node.
 *
 * The happy path: nothing of it runs here; the configuration is written; a child calls liblxc's
 * restore, whose CRIU is this program again (stand_in.c), and becomes the parent of the monitor.
 * The stand-in waits until the instance's files are here, which may be much later. From then
 * on CRIU asks the hook at each step, and who listens there decides how it goes on.
 *
 * A restore that fails or is refused leaves nothing: CRIU kills what it has made, and the
 * instance's cgroups are removed here. The instance's own files stay.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lxc/lxccontainer.h>

#include "agent/worker/instance/device_filter.h"
#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/rootfs.h"
#include "agent/worker/instance/run.h"
#include "agent/worker/instance/stand_in.h"
#include "lib/cleanup.h"
#include "lib/str.h"

#define PROGRAM_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int make_ready(const struct lx_job *job, const lx_spec *spec, const struct lx_cgroups *cg,
		      struct lx_err *err)
{
	char image[LX_JOB_PATH_MAX];
	lx_autoclose int root = -1;
	struct lx_guest_init init;
	struct lx_devices devices = { 0 };
	lx_lxcfs_set lxcfs;
	struct lx_run run;
	int r = lx_run_find(job, &run, err);

	if (r == 1)
		return lx_err_set(err, LX_FAILED_PRECONDITION, "%s is running already", job->name);
	if (r == 0)
		r = lx_instance_wipe(job, cg, err);
	if (r == 0)
		r = lx_image_check(job, spec->image_fingerprint, err);
	if (r == 0)
		r = lx_mounts_private(err);
	if (r < 0)
		return r;
	/* Its own files are still on their way: the image says what kind of init it has. */
	lx_image_path(job, spec->image_fingerprint, image);
	root = open(image, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		r = lx_err_errno(err, errno, "cannot open %s", image);
	if (r == 0)
		r = lx_devices_of_restore(spec, &devices, err);
	/* CRIU mounts what it had, and is told where that is (move/restore.c): here it must only be there. */
	if (r == 0)
		r = lx_devices_lxcfs(job, spec, &lxcfs, err);
	if (r == 0)
		r = lx_instance_configure(job, spec, cg, &devices, root, &init, err);
	/* Makes the cgroup that liblxc's will be in: last, so that a refusal leaves none. */
	if (r == 0)
		r = lx_device_filter_set(job, cg, &devices, false, err);
	lx_devices_release(&devices);
	return r;
}

/* ------------------------------------------------------------------ the child */

static bool set_environment(const Lxmgr__V1__RestoreJob *restore)
{
	lx_autofree char *path = lx_asprintf("%s:%s:" PROGRAM_PATH, restore->programs, restore->tools);

	return path && setenv("PATH", path, 1) == 0 && setenv("LXMGR_HOOK", restore->hook_socket, 1) == 0 &&
	       setenv(LX_STAND_IN_JOB, restore->job_file, 1) == 0;
}

/* The monitor is a fork of this: no descriptor of ours, no terminal or group to be killed with. */
static void cut_off(void)
{
	int null = open("/dev/null", O_RDWR);

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	close_range(STDERR_FILENO + 1, ~0u, 0);
	(void)setsid();
	(void)!chdir("/");
}

/*
 * A session keyring of the guest's own, as liblxc makes one at a start: CRIU carries none, and
 * what it restores would go on with that of this process, which is the node's.
 */
static int own_keyring(uint32_t owner)
{
	long id = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);

	if (id < 0)
		return errno == ENOSYS ? 0 : -errno;
	return syscall(SYS_keyctl, KEYCTL_CHOWN, id, owner, owner) < 0 ? -errno : 0;
}

/* Init's number, or -1. Never returns in the monitor. */
static pid_t call_liblxc(const struct lx_job *job, const Lxmgr__V1__RestoreJob *restore)
{
	struct migrate_opts opts = {
		.directory = restore->images,
		.action_script = restore->hook,
		.preserves_inodes = true,
	};
	struct lxc_container *c = lxc_container_new(job->name, job->lxc_path);
	pid_t init = -1;

	if (!c || !c->lxc_conf)
		return -1;
	malloc_trim(0);
	if (c->migrate(c, MIGRATE_RESTORE, &opts, sizeof(opts)) == 0)
		init = c->init_pid(c);
	return init;
}

static int restore(const struct lx_job *job, const Lxmgr__V1__RestoreJob *how, uint32_t base, pid_t *ret_init,
		   struct lx_err *err)
{
	pid_t *init = mmap(NULL, sizeof(*init), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (init == MAP_FAILED)
		return lx_err_oom(err);
	pid_t child = fork();

	if (child == 0) {
		cut_off();
		*init = set_environment(how) && own_keyring(base) == 0 ? call_liblxc(job, how) : -1;
		_exit(EXIT_SUCCESS);
	}
	int r = child < 0 || waitpid(child, NULL, 0) < 0 ? -errno : 0;

	*ret_init = *init;
	munmap(init, sizeof(*init));
	if (r < 0)
		return lx_err_errno(err, r, "cannot start a process");
	if (*ret_init <= 0)
		return lx_err_set(err, LX_FAILED_PRECONDITION, "liblxc did not bring it back");
	return 0;
}

/* ------------------------------------------------------------------ the verb */

static int save_run(const struct lx_job *job, const lx_spec *spec, pid_t init, struct lx_run *run,
		    struct lx_err *err)
{
	lx_autofree char **veths = calloc(spec->n_nics + 1, sizeof(*veths));

	if (!veths)
		return lx_err_oom(err);
	for (size_t i = 0; i < spec->n_nics; i++)
		veths[i] = spec->nics[i]->host_name;
	return lx_run_save(job, init, veths, spec->n_nics, job->msg->restore->started_at_ns, run, err);
}

int lx_job_restore(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	struct lx_cgroups cg;
	struct lx_run run;
	const lx_spec *spec;
	pid_t init = -1;
	int r = lx_spec_of_job(job, &spec, err);

	if (r == 0)
		r = lx_cgroups_find(&cg, err);
	if (r == 0)
		r = make_ready(job, spec, &cg, err);
	if (r == 0) {
		r = restore(job, job->msg->restore, spec->idmap_base, &init, err);
		if (r == 0)
			r = save_run(job, spec, init, &run, err);
		if (r < 0)
			(void)lx_instance_wipe(job, &cg, NULL);
	}
	if (r < 0) {
		lx_err_wrap(err, "cannot restore %s", job->name);
		return r;
	}
	lx_run_tell(&run, result);
	return 0;
}
