/*
 * Becoming the guest's root.
 *
 * Running: setns(2) by a pidfd of its init, which was checked to be the one we know.
 * Stopped: its file system is mounted in our own namespace, chroot into it, then a user
 * namespace with the instance's map. Either way the kernel does the confinement: ids outside
 * the map do not exist, devices cannot be made, and ".." and links end at the guest's root. A
 * privileged guest has no map; what it is entered with instead is a root that has capabilities for
 * files alone, which makes no device and leaves no root directory.
 */
#include "agent/worker/instance/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/instance/guest_join.h"
#include "agent/worker/instance/proc.h"
#include "agent/worker/instance/rootfs.h"
#include "agent/worker/instance/run.h"
#include "agent/worker/instance/spec.h"
#include "lib/cleanup.h"
#include "lib/fs.h"

#define STACK_SIZE (256u << 10) /* of a child; what it does not touch costs nothing */

/* ------------------------------------------------------------------ children */

/*
 * They work in our memory, on a stack of their own: a copy of it, and afterwards a fault for every
 * page that either side writes to, would cost more than what they do. Returns the top, or NULL.
 */
static void *new_stack(void)
{
	uint8_t *at = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK,
			   -1, 0);

	return at == MAP_FAILED ? NULL : at + STACK_SIZE;
}

static void free_stack(void *top)
{
	if (top)
		munmap((uint8_t *)top - STACK_SIZE, STACK_SIZE);
}

/* ------------------------------------------------------------------ user namespace */

static int write_map(pid_t pid, const char *file, uint32_t base, uint32_t size)
{
	char path[64], map[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	snprintf(map, sizeof(map), "0 %u %u\n", base, size);
	return lx_write_knob(path, map);
}

/* The namespace needs a process until it is open here: a child that waits for our end of a pipe to close. */
static int hold(void *arg)
{
	const int *ends = arg;
	char c;

	close(ends[1]);
	while (read(ends[0], &c, 1) < 0 && errno == EINTR)
		;
	return EXIT_SUCCESS;
}

static pid_t hold_userns(void *stack, int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid_t pid = clone(hold, stack, CLONE_NEWUSER | CLONE_VM | SIGCHLD, ends);
	int e = errno;

	close(ends[0]);
	if (pid < 0)
		close(ends[1]);
	return pid < 0 ? -e : pid;
}

int lx_userns_open(uint32_t base, uint32_t size, struct lx_err *err)
{
	char path[64];
	int ends[2], fd = -1;
	void *stack = new_stack();
	pid_t pid = stack ? hold_userns(stack, ends) : -ENOMEM;

	if (pid < 0) {
		free_stack(stack);
		return lx_err_errno(err, pid, "cannot make a user namespace");
	}
	int r = write_map(pid, "uid_map", base, size);

	if (r == 0)
		r = write_map(pid, "gid_map", base, size);
	if (r == 0) {
		snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		r = fd < 0 ? -errno : 0;
	}
	close(ends[1]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	free_stack(stack);
	return r < 0 ? lx_err_errno(err, r, "cannot map ids %u to %u", base, base + size - 1) : fd;
}

int lx_spec_userns(const lx_spec *spec, int *ret_fd, struct lx_err *err)
{
	*ret_fd = -1;
	if (lx_spec_is_privileged(spec))
		return 0;
	*ret_fd = lx_userns_open(spec->idmap_base, spec->idmap_size, err);
	return *ret_fd < 0 ? *ret_fd : 0;
}

/* ------------------------------------------------------------------ entering */

static int enter_running(const struct lx_job *job, const struct lx_run *run, struct lx_err *err)
{
	lx_autospec lx_spec *spec = NULL;
	lx_autoclose int init = lx_proc_open(run->init, run->init_start);
	int r = init < 0 ? 0 : lx_spec_load(job, &spec, err);

	if (r < 0)
		return r;
	if (init == -ESRCH)
		return lx_job_not_running(job, err);
	if (init < 0)
		return lx_err_errno(err, init, "cannot open init of %s", job->name);
	r = lx_guest_join(init, CLONE_NEWNS, lx_spec_is_privileged(spec), LX_GUEST_FILES, err);
	if (r < 0)
		lx_err_wrap(err, "cannot enter %s", job->name);
	return r;
}

static int enter_tree(int root_fd, int userns_fd, struct lx_err *err)
{
	if (fchdir(root_fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return lx_err_errno(err, errno, "cannot enter the guest's root file system");
	if (userns_fd >= 0 && setns(userns_fd, CLONE_NEWUSER) < 0)
		return lx_err_errno(err, errno, "cannot enter the guest's user namespace");
	return lx_guest_become_root(userns_fd < 0, LX_GUEST_FILES, err);
}

static int enter_stopped(const struct lx_job *job, struct lx_err *err)
{
	lx_autospec lx_spec *spec = NULL;
	lx_autoclose int userns = -1, root = -1;
	int r = lx_spec_load(job, &spec, err);

	if (r == 0)
		r = lx_image_check(job, spec->image_fingerprint, err);
	if (r == 0)
		r = lx_spec_userns(spec, &userns, err);
	if (r == 0)
		r = lx_mounts_private(err);
	if (r == 0)
		r = lx_rootfs_mount(job, spec, userns, &root, err);
	if (r == 0)
		r = enter_tree(root, userns, err);
	return r;
}

int lx_guest_enter(const struct lx_job *job, struct lx_err *err)
{
	struct lx_run run;
	int r = lx_run_find(job, &run, err);

	if (r < 0)
		return r;
	/* Rebooting: for a moment there is no init to go to, and its file system is in use. */
	if (r == 1 && run.init == 0)
		return lx_job_not_running(job, err);
	return r == 1 ? enter_running(job, &run, err) : enter_stopped(job, err);
}

/* ------------------------------------------------------------------ in a child */

struct work {
	int root_fd, userns_fd;
	int (*fn)(void *arg, struct lx_err *err);
	void *arg;
	int r;
	struct lx_err *err;
};

static int work(void *arg)
{
	struct work *w = arg;
	int r = enter_tree(w->root_fd, w->userns_fd, w->err);

	/* After the change of user, which takes it back. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	w->r = r < 0 ? r : w->fn(w->arg, w->err);
	return EXIT_SUCCESS;
}

int lx_guest_run(int root_fd, int userns_fd, int (*fn)(void *arg, struct lx_err *err), void *arg,
		 struct lx_err *err)
{
	struct work w = { root_fd, userns_fd, fn, arg, -EIO, err };
	void *stack = new_stack();

	if (!stack)
		return lx_err_oom(err);
	/* We stand still until it has ended: the memory is its own for so long. */
	pid_t pid = clone(work, stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &w);
	int r = pid < 0 ? -errno : 0, status = 0;

	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	free_stack(stack);
	/* The kernel takes it from all who share the memory of one that becomes somebody else. */
	prctl(PR_SET_DUMPABLE, 1);
	if (r < 0)
		return lx_err_errno(err, r, "cannot start a process");
	if (!WIFEXITED(status))
		return lx_err_set(err, LX_INTERNAL, "a process working in the guest's files died");
	return w.r;
}
