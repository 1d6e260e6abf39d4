/*
 * What liblxc needs to start an instance: <instance>/config and <instance>/seccomp, written
 * anew for every start from the specification and from what the guest and the node are like
 * now. The texts themselves come from profiles/.
 *
 * Whether the guest's init keeps a log by itself is found out here, too: systemd does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/lsm.h"
#include "agent/worker/instance/root_disk.h"
#include "agent/worker/instance/rootfs.h"
#include "agent/worker/intercept_message.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/oom.h"
#include "lib/qname.h"
#include "lib/str.h"
#include "profiles/intercept.h"
#include "profiles/intercept_mount.h"

/* A log that has grown beyond this is begun anew at the next start. */
#define CONSOLE_LOG_MAX (1024 * 1024)

/* ------------------------------------------------------------------ the guest */

static bool is_real_dir(int root_fd, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS,
	};
	lx_autoclose int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

	return fd >= 0;
}

static int find_init(const struct lx_job *job, int root_fd, struct lx_guest_init *ret, struct lx_err *err)
{
	lx_autoclose int init = lx_open_in_root(root_fd, LX_GUEST_INIT),
			 shell = lx_open_in_root(root_fd, "/bin/sh");
	char link[64], target[LX_JOB_PATH_MAX];

	if (init < 0) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s has no " LX_GUEST_INIT, job->name);

		lx_err_hint(err, "Its image is no full operating system, or the file was removed inside.");
		return r;
	}
	/* Where all the links end. */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", init);
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	target[n < 0 ? 0 : n] = '\0';
	ret->systemd = lx_ends_with(target, "/systemd");
	ret->shell = shell >= 0;
	ret->run = is_real_dir(root_fd, "run");
	return 0;
}

/* The guest may have put anything there: only a regular file reached without links is touched. */
static void limit_console_log(int root_fd)
{
	struct open_how how = {
		.flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS,
	};
	lx_autoclose int fd = (int)syscall(SYS_openat2, root_fd, LX_CONSOLE_LOG, &how, sizeof(how));
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > CONSOLE_LOG_MAX)
		(void)!ftruncate(fd, 0);
}

/* ------------------------------------------------------------------ the files */

/* Not synced: nothing reads them after a crash, the next start writes them again. */
static int write_text(const char *path, const struct lx_buf *text, struct lx_err *err)
{
	lx_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot create %s", path);
	ssize_t w = lx_write_full(fd, text->data, text->len);

	return w < 0 ? lx_err_errno(err, (int)w, "cannot write %s", path) : 0;
}

static int write_mounts_allowed(const struct lx_job *job, const struct lx_map *config, struct lx_err *err)
{
	lx_autobuf struct lx_buf list = { 0 };
	char path[LX_JOB_PATH_MAX];

	if (lx_buf_puts(&list, lx_config_get(config, LX_KEY_MOUNT_ALLOWED)) < 0)
		return lx_err_oom(err);
	lx_job_path(job, path, LX_MOUNTS_ALLOWED);
	return write_text(path, &list, err);
}

/* And the one for who enters later, where calls stop: that it is there tells that they do. */
static int write_seccomp(const struct lx_job *job, const struct lx_map *config, const char *path,
			 struct lx_err *err)
{
	lx_autobuf struct lx_buf text = { 0 }, later = { 0 };
	char inside[LX_JOB_PATH_MAX];
	int r = lx_seccomp_policy(config, &text, err);

	if (r == 0)
		r = write_text(path, &text, err);
	if (r < 0)
		return r;
	lx_job_path(job, inside, LX_POLICY_INSIDE);
	if (!lx_intercepts(config)) {
		(void)unlink(inside);
		return 0;
	}
	r = lx_seccomp_policy_inside(config, &later, err);
	if (r == 0)
		r = write_text(inside, &later, err);
	return r == 0 ? write_mounts_allowed(job, config, err) : r;
}

static int write_config(const struct lx_job *job, const lx_spec *spec, struct lx_lxc_input *in,
			struct lx_err *err)
{
	lx_autofree struct lx_lxc_nic *nics = calloc(spec->n_nics + 1, sizeof(*nics));
	lx_autobuf struct lx_buf text = { 0 };
	char path[LX_JOB_PATH_MAX];

	if (!nics)
		return lx_err_oom(err);
	for (size_t i = 0; i < spec->n_nics; i++)
		nics[i] = lx_spec_nic(spec->nics[i]);
	in->nics = nics;
	in->n_nics = spec->n_nics;
	int r = lx_lxc_config(in, &text, err);

	if (r < 0)
		return r;
	lx_job_path(job, path, "config");
	return write_text(path, &text, err);
}

static int write_both(const struct lx_job *job, const lx_spec *spec, const struct lx_map *config,
		      const struct lx_guest_init *init, const struct lx_cgroups *cg,
		      const struct lx_devices *devices, struct lx_err *err)
{
	char rootfs[LX_JOB_PATH_MAX], seccomp[LX_JOB_PATH_MAX], log[LX_JOB_PATH_MAX];
	struct lx_knob knobs[LX_KNOBS_MAX + LX_DISK_KNOBS_MAX];
	struct lx_host_facts facts;
	struct lx_lsm lsm = { 0 };
	int r = lx_cgroups_facts(cg, &facts, err);

	if (r == 0)
		r = lx_lsm_prepare(job, spec->image_fingerprint, config, &lsm, err);
	if (r < 0)
		return r;
	int n_knobs = lx_limits_plan(config, &facts, knobs, err);

	if (n_knobs < 0)
		return n_knobs;
	r = lx_root_disk_knobs(job, &facts, spec, knobs + n_knobs, err);
	if (r < 0)
		return r;
	n_knobs += r;
	lx_job_path(job, rootfs, "rootfs");
	lx_job_path(job, seccomp, "seccomp");
	lx_job_path(job, log, "lxc.log");
	/* Less than what we have ourselves could not be given back. */
	int adj = lx_oom_get();
	struct lx_lxc_input in = {
		.name = job->name,
		.rootfs = rootfs,
		.cgroup_root = job->cgroup_root,
		.hostname = lx_qname_leaf(job->name),
		.init = LX_GUEST_INIT,
		.seccomp_path = seccomp,
		.log_path = log,
		.idmap_base = spec->idmap_base,
		.idmap_size = spec->idmap_size,
		.config = config,
		.mounts = devices->mounts,
		.n_mounts = devices->n_mounts,
		.lxcfs_dir = job->lxcfs_dir,
		.lxcfs = devices->lxcfs,
		.knobs = knobs,
		.n_knobs = (size_t)n_knobs,
		.apparmor = lsm.apparmor,
		.apparmor_label = *lsm.label ? lsm.label : NULL,
		.apparmor_namespace = lsm.own_namespace,
		.selinux_context = lsm.selinux,
		.oom_adj = adj < LX_OOM_USUAL ? LX_OOM_USUAL : adj,
		.systemd = init->systemd,
		.has_run = init->run,
	};

	r = write_seccomp(job, config, seccomp, err);
	return r < 0 ? r : write_config(job, spec, &in, err);
}

int lx_instance_configure(const struct lx_job *job, const lx_spec *spec, const struct lx_cgroups *cg,
			  const struct lx_devices *devices, int root_fd, struct lx_guest_init *ret_init,
			  struct lx_err *err)
{
	struct lx_map config;
	int r = find_init(job, root_fd, ret_init, err);

	if (r == 0)
		r = lx_spec_config(spec, &config, err);
	if (r < 0)
		return r;
	limit_console_log(root_fd);
	r = write_both(job, spec, &config, ret_init, cg, devices, err);
	lx_map_release(&config);
	return r;
}
