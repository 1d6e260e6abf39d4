/*
 * The daemon sees the dump through a directory of its own, of links, in which the inventory is
 * a pipe: it waits at it as CRIU's restore does (agent/worker/instance/stand_in.c).
 */
#include "agent/worker/move/lazy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/criu.h"
#include "migration/page_image.h"

/* For the daemon to come to its inventory, and from there to listen. */
#define START_MS      10000
#define POLL_MS       1
#define LOOK_AGAIN_MS 500

/* What CRIU asks the kernel for. */
#define FEATURES                                                                                             \
	(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP |                     \
	 UFFD_FEATURE_EVENT_REMOVE)

static void path_in(const struct lx_move *m, const char *name, char out[LX_JOB_PATH_MAX + 32])
{
	snprintf(out, LX_JOB_PATH_MAX + 32, "%s/%s", m->dir, name);
}

bool lx_lazy_possible(void)
{
	lx_autoclose int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = { .api = UFFD_API };

	return uffd >= 0 && ioctl(uffd, UFFDIO_API, &api) == 0 && (api.features & FEATURES) == FEATURES &&
	       lx_lazy_may_allow();
}

bool lx_lazy_wanted(const struct lx_move *m)
{
	char path[LX_JOB_PATH_MAX + 32];

	path_in(m, "images/" LX_PAGES_PARENT_DIR, path);
	return lx_is_dir(path) && lx_lazy_possible();
}

/* ------------------------------------------------------------------ the daemon */

/* This program again, as lazy_keeper.c. */
static void become_keeper(const struct lx_move *m, const char *criu)
{
	lx_autofree char *worker = lx_path_join(m->libexec, "lx-move-worker");
	const char *argv[] = { LX_LAZY_KEEPER, m->dir, criu, NULL };

	if (worker)
		execv(worker, (char *const *)(uintptr_t)argv);
	_exit(127);
}

static void pipe_path(const struct lx_move *m, char out[LX_JOB_PATH_MAX + 32])
{
	path_in(m, LX_LAZY_DIR "/" LX_CRIU_INVENTORY, out);
}

static int make_dir(const struct lx_move *m, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX + 32];

	static const char *const old[] = { LX_LAZY_DONE, LX_LAZY_PID, LX_LAZY_SOCKET };

	for (size_t i = 0; i < LX_ARRAY_SIZE(old); i++) {
		path_in(m, old[i], path);
		(void)unlink(path);
	}
	path_in(m, LX_LAZY_DIR, path);
	int r = lx_rm_rf(path, err);

	if (r == 0)
		r = lx_mkdir_p(path, 0700, err);
	pipe_path(m, path);
	return r < 0 || mkfifo(path, 0600) == 0 ? r : lx_err_errno(err, errno, "cannot make %s", path);
}

int lx_lazy_start(const struct lx_move *m, const char *criu, struct lx_lazy *lazy, struct lx_err *err)
{
	int r = make_dir(m, err);

	if (r < 0)
		return r;
	lazy->pid = fork();
	if (lazy->pid == 0)
		become_keeper(m, criu);
	if (lazy->pid < 0) {
		lazy->pid = 0;
		return lx_err_errno(err, errno, "cannot start CRIU's daemon");
	}
	return 0;
}

/* ------------------------------------------------------------------ the dump is here */

/* Processes out of the dump, their pages out of what was copied ahead. */
static int link_images(const struct lx_move *m, const char *from, bool ahead, struct lx_err *err)
{
	char dir[LX_JOB_PATH_MAX + 32], images[LX_JOB_PATH_MAX + 32];

	path_in(m, LX_LAZY_DIR, dir);
	path_in(m, from, images);
	lx_autoclose int to = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lx_autoclosedir DIR *d = opendir(images);

	if (!d && ahead && errno == ENOENT)
		return 0; /* there was nothing that may come late */
	if (to < 0 || !d)
		return lx_err_errno(err, errno, "cannot read the dump");
	for (struct dirent *e; (e = readdir(d));) {
		char target[PATH_MAX];
		bool pages = lx_starts_with(e->d_name, "pagemap-") || lx_starts_with(e->d_name, "pages-"),
		     process = lx_streq(e->d_name, "pstree.img") || lx_starts_with(e->d_name, "mm-");

		snprintf(target, sizeof(target), "../%s/%s", from, e->d_name);
		if ((ahead ? pages : process) && symlinkat(target, to, e->d_name) < 0)
			return lx_err_errno(err, errno, "cannot show the dump to CRIU's daemon");
	}
	return 0;
}

static bool is_running(pid_t pid)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

static int explain(const struct lx_move *m, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX + 32];
	lx_autobuf struct lx_buf log = { 0 };

	path_in(m, "images/" LX_LAZY_LOG, path);
	(void)lx_read_file(path, 1u << 20, &log, NULL);
	return lx_criu_explain(lx_buf_str(&log), "put the memory in place", err);
}

/* Until `done` says so, or the daemon has ended, or it takes too long. */
static int wait_until(const struct lx_move *m, const struct lx_lazy *lazy, bool (*done)(void *arg), void *arg,
		      struct lx_err *err)
{
	uint64_t end = lx_now_monotonic_ns() + START_MS * LX_NSEC_PER_MSEC;

	while (!done(arg)) {
		if (!is_running(lazy->pid))
			return explain(m, err);
		if (lx_now_monotonic_ns() > end)
			return lx_err_set(err, LX_DEADLINE_EXCEEDED,
					  "CRIU's daemon has done nothing for %d s", START_MS / 1000);
		(void)poll(NULL, 0, POLL_MS);
	}
	return 0;
}

struct opened {
	const char *path;
	int fd;
};

static bool pipe_is_open(void *arg)
{
	struct opened *o = arg;

	o->fd = open(o->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	return o->fd >= 0;
}

static int fill_pipe(const struct lx_move *m, const struct lx_lazy *lazy, struct lx_err *err)
{
	char kept[LX_JOB_PATH_MAX + 32], path[LX_JOB_PATH_MAX + 32];
	lx_autobuf struct lx_buf data = { 0 };
	struct opened o = { .path = path, .fd = -1 };

	path_in(m, "images/" LX_CRIU_INVENTORY_KEPT, kept);
	pipe_path(m, path);
	int r = lx_read_file(kept, PIPE_BUF, &data, err);

	if (r == 0)
		r = wait_until(m, lazy, pipe_is_open, &o, err);
	if (r == 0 && write(o.fd, data.data, data.len) != (ssize_t)data.len)
		r = lx_err_errno(err, errno, "cannot give CRIU's daemon its inventory");
	if (o.fd >= 0)
		close(o.fd);
	return r;
}

static bool exists(void *path)
{
	return lx_path_exists(path);
}

int lx_lazy_go(const struct lx_move *m, struct lx_lazy *lazy, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX + 32];
	int r = link_images(m, "images", false, err);

	if (r == 0)
		r = link_images(m, "images/" LX_PAGES_PARENT_DIR, true, err);
	if (r == 0)
		r = fill_pipe(m, lazy, err);
	path_in(m, LX_LAZY_SOCKET, path);
	if (r == 0)
		r = wait_until(m, lazy, exists, path, err);
	if (r == 0)
		lazy->permission = lx_lazy_allow(m->dir);
	return r;
}

/* ------------------------------------------------------------------ restored */

static pid_t read_pid(const struct lx_move *m)
{
	char path[LX_JOB_PATH_MAX + 32], number[32];

	path_in(m, LX_LAZY_PID, path);
	return lx_read_line(path, number, sizeof(number)) < 0 ? 0 : (pid_t)strtol(number, NULL, 10);
}

static void forbid(const struct lx_move *m, struct lx_lazy *lazy)
{
	if (lazy->permission >= 0)
		lx_lazy_forbid(m->dir, lazy->permission);
	lazy->permission = -1;
}

int lx_lazy_restored(const struct lx_move *m, struct lx_lazy *lazy, struct lx_err *err)
{
	pid_t daemon = read_pid(m);
	char path[64], target[64];

	forbid(m, lazy);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)daemon);
	lx_autoclose int pidfd = daemon > 0 ? (int)syscall(SYS_pidfd_open, daemon, 0) : -1;
	lx_autoclosedir DIR *d = opendir(path);

	if (pidfd < 0 || !d)
		return explain(m, err);
	for (struct dirent *e; lazy->n < LX_LAZY_FDS_MAX && (e = readdir(d));) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		if (!strstr(target, "[userfaultfd]"))
			continue;
		int fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)strtol(e->d_name, NULL, 10), 0);

		if (fd >= 0)
			lazy->fds[lazy->n++] = fd;
	}
	return 0;
}

int lx_lazy_wait(const struct lx_move *m, struct lx_lazy *lazy, struct lx_err *err)
{
	int status = -1;

	if (lazy->pid <= 0)
		return 0;
	lx_move_progress(m, "memory in place", 0, 0);
	if (waitpid(lazy->pid, &status, 0) < 0)
		return lx_err_errno(err, errno, "cannot wait for CRIU's daemon");
	lazy->pid = 0;
	return status == 0 ? 0 : explain(m, err);
}

bool lx_lazy_failed(const struct lx_move *m, const struct lx_lazy *lazy, struct lx_err *err)
{
	siginfo_t info = { 0 };

	if (lazy->pid <= 0 || waitid(P_PID, (id_t)lazy->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	    info.si_pid == 0 || (info.si_code == CLD_EXITED && info.si_status == 0))
		return false;
	(void)explain(m, err);
	return true;
}

void lx_lazy_end(const struct lx_move *m, struct lx_lazy *lazy)
{
	pid_t daemon = lazy->pid > 0 ? read_pid(m) : 0;

	forbid(m, lazy);
	/* It is its parent's to wait for, and that is there: the number cannot be another's. */
	if (daemon > 0 && is_running(lazy->pid))
		(void)kill(daemon, SIGKILL);
	if (lazy->pid > 0)
		waitpid(lazy->pid, NULL, 0);
	lazy->pid = 0;
	while (lazy->n > 0)
		close(lazy->fds[--lazy->n]);
}

int lx_lazy_resume(const struct lx_move *m, struct lx_err *err)
{
	char dir[LX_JOB_PATH_MAX + 32], done[LX_JOB_PATH_MAX + 32];

	path_in(m, LX_LAZY_DIR, dir);
	path_in(m, LX_LAZY_DONE, done);
	while (lx_is_dir(dir) && !lx_path_exists(done)) {
		pid_t daemon = read_pid(m);
		bool gone = daemon <= 0 || kill(daemon, 0) < 0;

		/* That is written a moment after the daemon has ended. */
		(void)poll(NULL, 0, LOOK_AGAIN_MS);
		if (gone && !lx_path_exists(done))
			return lx_err_set(err, LX_DATA_LOSS,
					  "CRIU's daemon ended before all the memory of %s was in place",
					  m->job->name);
	}
	return 0;
}
