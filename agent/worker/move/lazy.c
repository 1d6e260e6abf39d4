#include "agent/worker/move/lazy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/criu_kill.h"
#include "migration/page_image.h"

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

/* ------------------------------------------------------------------ the keeper */

/* This program again, as lazy_keeper.c. */
static void become_keeper(const struct lx_move *m, int crius, int workers)
{
	lx_autofree char *worker = lx_path_join(m->libexec, "lx-move-worker");
	lx_autofree char *mark = lx_asprintf(LX_MOVE_MARK "=%s/hook", m->dir);
	const char *argv[] = { LX_LAZY_KEEPER, m->dir, NULL };
	char *env[] = { mark, NULL };

	/* Clear of the numbers they are to have. */
	crius = fcntl(crius, F_DUPFD_CLOEXEC, LX_LAZY_WORKER_FD + 1);
	workers = fcntl(workers, F_DUPFD_CLOEXEC, LX_LAZY_WORKER_FD + 1);
	if (worker && mark && dup2(crius, LX_LAZY_KEEPER_FD) >= 0 && dup2(workers, LX_LAZY_WORKER_FD) >= 0)
		execve(worker, (char *const *)(uintptr_t)argv, env);
	_exit(127);
}

/* Where CRIU's restore looks for it. */
static int listen_for_criu(const struct lx_move *m, struct lx_err *err)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	lx_autoclose int dir = open(m->images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lx_autoclose int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (dir < 0 || sock < 0)
		return lx_err_errno(err, errno, "cannot make a socket for CRIU's restore");
	/* The directory's own name may be longer than a socket's may. */
	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/" LX_LAZY_SOCKET, dir);
	(void)unlink(at.sun_path);
	if (bind(sock, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(sock, 1) < 0)
		return lx_err_errno(err, errno, "cannot make a socket for CRIU's restore");
	return lx_move_fd(sock);
}

int lx_lazy_start(const struct lx_move *m, struct lx_lazy *lazy, struct lx_err *err)
{
	static const char *const old[] = { LX_LAZY_DONE, LX_LAZY_PID, LX_LAZY_WHY };
	char path[LX_JOB_PATH_MAX + 32];

	for (size_t i = 0; i < LX_ARRAY_SIZE(old); i++) {
		path_in(m, old[i], path);
		(void)unlink(path);
	}
	lx_autoclose int sock = listen_for_criu(m, err);
	int pair[2];

	if (sock < 0)
		return sock;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return lx_err_errno(err, errno, "cannot start the keeper of the guest's memory");
	lazy->keeper = pair[0];
	lazy->pid = fork();
	if (lazy->pid == 0)
		become_keeper(m, sock, pair[1]);
	close(pair[1]);
	if (lazy->pid < 0) {
		lazy->pid = 0;
		return lx_err_errno(err, errno, "cannot start the keeper of the guest's memory");
	}
	return 0;
}

static void say(const struct lx_lazy *lazy, const struct lx_lazy_word *word)
{
	while (lazy->keeper >= 0 && send(lazy->keeper, word, sizeof(*word), MSG_NOSIGNAL) < 0 &&
	       errno == EINTR)
		;
}

void lx_lazy_came(const struct lx_lazy *lazy, uint32_t pages_id, uint64_t start, uint64_t end)
{
	say(lazy,
	    &(struct lx_lazy_word){ .what = LX_LAZY_CAME, .pages_id = pages_id, .start = start, .end = end });
}

void lx_lazy_hang_up(struct lx_lazy *lazy)
{
	if (lazy->keeper >= 0)
		close(lazy->keeper);
	lazy->keeper = -1;
}

void lx_lazy_thawed(const struct lx_lazy *lazy)
{
	say(lazy, &(struct lx_lazy_word){ .what = LX_LAZY_THAWED });
}

void lx_lazy_go(const struct lx_move *m, struct lx_lazy *lazy)
{
	lazy->permission = lx_lazy_allow(m->dir);
}

static int explain(const struct lx_move *m, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX + 32], why[LX_ERR_MSG_MAX];

	path_in(m, LX_LAZY_WHY, path);
	if (lx_read_line(path, why, sizeof(why)) < 0)
		snprintf(why, sizeof(why), "it was killed");
	return lx_err_set(err, LX_DATA_LOSS, "the keeper of the memory of %s has ended: %s", m->job->name,
			  why);
}

/* ------------------------------------------------------------------ restored */

static void forbid(const struct lx_move *m, struct lx_lazy *lazy)
{
	if (lazy->permission >= 0)
		lx_lazy_forbid(m->dir, lazy->permission);
	lazy->permission = -1;
}

int lx_lazy_restored(const struct lx_move *m, struct lx_lazy *lazy, struct lx_err *err)
{
	char path[64], target[64];

	forbid(m, lazy);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)lazy->pid);
	lx_autoclose int pidfd = lazy->pid > 0 ? (int)syscall(SYS_pidfd_open, lazy->pid, 0) : -1;
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

static void let_go(struct lx_lazy *lazy)
{
	while (lazy->n > 0)
		close(lazy->fds[--lazy->n]);
}

int lx_lazy_wait(struct lx_move *m, struct lx_lazy *lazy, struct lx_err *err)
{
	int status = -1;

	if (lazy->pid <= 0)
		return 0;
	lx_move_progress(m, "memory in place", 0, 0);
	if (waitpid(lazy->pid, &status, 0) < 0)
		return lx_err_errno(err, errno, "cannot wait for the keeper of the guest's memory");
	lazy->pid = 0;
	if (status != 0)
		return explain(m, err);
	/* At once: as long as they are held the guest is watched, and nobody looks any more. */
	let_go(lazy);
	return 0;
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
	forbid(m, lazy);
	if (lazy->pid > 0) {
		(void)kill(lazy->pid, SIGKILL);
		waitpid(lazy->pid, NULL, 0);
	}
	lazy->pid = 0;
	let_go(lazy);
	lx_lazy_hang_up(lazy);
}

static pid_t read_pid(const struct lx_move *m)
{
	char path[LX_JOB_PATH_MAX + 32], number[32];

	path_in(m, LX_LAZY_PID, path);
	return lx_read_line(path, number, sizeof(number)) < 0 ? 0 : (pid_t)strtol(number, NULL, 10);
}

int lx_lazy_resume(const struct lx_move *m, struct lx_err *err)
{
	char started[LX_JOB_PATH_MAX + 32], done[LX_JOB_PATH_MAX + 32], why[LX_JOB_PATH_MAX + 32];

	path_in(m, LX_LAZY_PID, started);
	path_in(m, LX_LAZY_DONE, done);
	path_in(m, LX_LAZY_WHY, why);
	while (lx_path_exists(started) && !lx_path_exists(done)) {
		pid_t keeper = read_pid(m);
		bool gone = keeper <= 0 || kill(keeper, 0) < 0 || lx_path_exists(why);

		/* The note is its last act. */
		(void)poll(NULL, 0, LOOK_AGAIN_MS);
		if (gone && !lx_path_exists(done))
			return explain(m, err);
	}
	return 0;
}
