/*
 * Freezing an instance's processes, killing them, and removing its groups. State is waited
 * for with poll(2) on cgroup.events, which the kernel makes readable (POLLPRI) at each
 * change; only v1 groups have nothing to wait for.
 */
#include "agent/worker/instance/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"

/* How long killed processes may take to go, and running ones to freeze. */
#define KILL_TIMEOUT_MS   10000
#define FREEZE_TIMEOUT_MS 10000
/* The v1 groups of processes that have just gone stay busy for a moment, and say nothing when it is over. */
#define BUSY_RETRY_MS 1
#define BUSY_RETRIES  2000

/* ------------------------------------------------------------------ waiting */

/*
 * Until `field` of a cgroup.events file has that value. 0, -ETIMEDOUT, or -ENOENT when the
 * group is gone.
 */
static int wait_event(const char *path, const char *field, bool value, int timeout_ms)
{
	uint64_t deadline = lx_now_monotonic_ns() + (uint64_t)timeout_ms * LX_NSEC_PER_MSEC;
	lx_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	char want[32];

	if (fd < 0)
		return -errno;
	snprintf(want, sizeof(want), "%s %d\n", field, value);
	for (;;) {
		char text[256];
		ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

		/* ENODEV: removed while open. */
		if (n < 0)
			return errno == ENODEV ? -ENOENT : -errno;
		text[n] = '\0';
		if (strstr(text, want))
			return 0;
		uint64_t now = lx_now_monotonic_ns();

		if (now >= deadline)
			return -ETIMEDOUT;
		struct pollfd p = { .fd = fd, .events = POLLPRI };

		if (poll(&p, 1, (int)((deadline - now) / LX_NSEC_PER_MSEC) + 1) < 0 && errno != EINTR)
			return -errno;
	}
}

/* ------------------------------------------------------------------ freezing */

bool lx_cgroup_frozen(const struct lx_cgroups *cg, const struct lx_job *job)
{
	char path[LX_JOB_PATH_MAX], line[16];

	lx_cgroup_path(cg, cg->v2, job, "/payload/cgroup.freeze", path);
	return lx_read_line(path, line, sizeof(line)) == 0 && strcmp(line, "1") == 0;
}

/* Somebody may have frozen it with the v1 freezer. */
static void thaw_v1(const struct lx_cgroups *cg, const struct lx_job *job)
{
	size_t freezer = lx_cgroup_hierarchy(cg, "freezer");
	char path[LX_JOB_PATH_MAX];

	if (freezer == cg->v2)
		return;
	lx_cgroup_path(cg, freezer, job, "/payload/freezer.state", path);
	(void)lx_write_knob(path, "THAWED");
}

int lx_cgroup_freeze(const struct lx_cgroups *cg, const struct lx_job *job, bool frozen, struct lx_err *err)
{
	char knob[LX_JOB_PATH_MAX], events[LX_JOB_PATH_MAX];

	lx_cgroup_path(cg, cg->v2, job, "/payload/cgroup.freeze", knob);
	lx_cgroup_path(cg, cg->v2, job, "/payload/cgroup.events", events);
	if (!frozen)
		thaw_v1(cg, job);
	int r = lx_write_knob(knob, frozen ? "1" : "0");

	if (r == 0)
		r = wait_event(events, "frozen", frozen, FREEZE_TIMEOUT_MS);
	if (r == 0)
		return 0;
	if (frozen)
		(void)lx_write_knob(knob, "0");
	if (r == -ENOENT)
		return lx_job_not_running(job, err);
	if (r == -ETIMEDOUT) {
		r = lx_err_set(err, LX_DEADLINE_EXCEEDED, "%s did not %s within %d seconds", job->name,
			       frozen ? "freeze" : "thaw", FREEZE_TIMEOUT_MS / 1000);
		lx_err_hint(err, "A process that waits for a disk or a network file system cannot be "
				 "stopped: look for state D in ps inside.");
		return r;
	}
	return lx_err_errno(err, r, "cannot %s %s", frozen ? "freeze" : "thaw", job->name);
}

/* ------------------------------------------------------------------ killing and removing */

static int kill_all(const struct lx_cgroups *cg, const struct lx_job *job, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];

	lx_cgroup_path(cg, cg->v2, job, "/cgroup.kill", path);
	int r = lx_write_knob(path, "1");

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return lx_err_errno(err, r, "cannot kill the processes of %s", job->name);
	thaw_v1(cg, job); /* frozen there, nothing dies */
	lx_cgroup_path(cg, cg->v2, job, "/cgroup.events", path);
	r = wait_event(path, "populated", false, KILL_TIMEOUT_MS);
	if (r == -ETIMEDOUT) {
		r = lx_err_set(err, LX_DEADLINE_EXCEEDED,
			       "processes of %s did not end within %d seconds of SIGKILL", job->name,
			       KILL_TIMEOUT_MS / 1000);
		lx_err_hint(err,
			    "They hang in the kernel, often on a disk or network file system that does "
			    "not answer; %.200s lists them.",
			    path);
		return r;
	}
	return r == -ENOENT ? 0 : r < 0 ? lx_err_errno(err, r, "cannot wait for %s to end", job->name) : 0;
}

static int remove_dir(int parent, const char *name)
{
	for (int i = 0;; i++) {
		if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY || i == BUSY_RETRIES)
			return -errno;
		(void)poll(NULL, 0, BUSY_RETRY_MS);
	}
}

/* Name of a group right below, false when there is none. */
static bool first_child(int fd, char out[256])
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lx_autoclosedir DIR *d = copy >= 0 ? fdopendir(copy) : NULL;

	if (!d) {
		if (copy >= 0)
			close(copy);
		return false;
	}
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
			snprintf(out, 256, "%s", e->d_name);
			return true;
		}
	return false;
}

static bool has_child(int fd)
{
	char name[256];

	return first_child(fd, name);
}

/*
 * Removes a group and all below it: always down to the first leaf, remove it, up again. A
 * guest decides how deep and how wide its tree is, so this needs neither stack nor a
 * descriptor for each level. All processes are dead by now: nobody moves things meanwhile.
 */
static int remove_tree(const char *path)
{
	lx_autoclose int at = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	unsigned depth = 0;
	char name[256];

	if (at < 0)
		return errno == ENOENT ? 0 : -errno;
	for (;;) {
		bool down = first_child(at, name);

		if (!down && depth == 0)
			return remove_dir(AT_FDCWD, path);
		int next = openat(at, down ? name : "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (next < 0)
			return -errno;
		if (down && !has_child(next)) {
			close(next);
			int r = remove_dir(at, name);

			if (r < 0)
				return r;
			continue;
		}
		close(at);
		at = next;
		if (down)
			depth++;
		else
			depth--;
	}
}

int lx_cgroup_remove(const struct lx_cgroups *cg, const struct lx_job *job, struct lx_err *err)
{
	int r = kill_all(cg, job, err);

	for (size_t i = 0; i < cg->n && r == 0; i++) {
		char path[LX_JOB_PATH_MAX];

		lx_cgroup_path(cg, i, job, "", path);
		r = remove_tree(path);
		if (r < 0)
			lx_err_errno(err, r, "cannot remove the cgroup %s", path);
	}
	return r;
}
