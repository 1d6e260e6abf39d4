/*
 * Starting workers.
 *
 * posix_spawn(3) borrows our memory instead of copying it, which is what makes starting a
 * process from a daemon with a large heap cheap. The worker gets /dev/null as stdin and
 * stdout, our stderr, its socket as LX_WORKER_FD and nothing else; a session of its own, so
 * that a Ctrl-C meant for the agent does not end it half-way.
 *
 * Ways to fail: the program is missing (said once, at start), or the machine is out of
 * processes, memory or descriptors.
 */
#include "agent/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/proto.h"
#include "agent/worker/zygote.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

static const char *const programs[LX_WORKER_KINDS] = {
	[LX_WORKER_INSTANCE] = "lx-instance-worker",
	[LX_WORKER_IMAGE] = "lx-image-worker",
	[LX_WORKER_MOVE] = "lx-move-worker",
};

#define WORKER_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* What an image builder needs to reach its mirror: passed on to image workers. */
static const char *const proxy_variables[] = { "http_proxy", "https_proxy", "ftp_proxy", "no_proxy" };

static bool has_workers(const char *dir)
{
	for (size_t i = 0; i < LX_WORKER_KINDS; i++) {
		lx_autofree char *path = lx_path_join(dir, programs[i]);

		if (!path || access(path, X_OK) < 0)
			return false;
	}
	return true;
}

static char *beside_this_program(void)
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n < 0)
		return NULL;
	exe[n] = '\0';
	for (int up = 0; up < 2; up++) {
		char *slash = strrchr(exe, '/');

		if (!slash)
			return NULL;
		*slash = '\0';
	}
	return lx_path_join(exe, "libexec");
}

int lx_spawn_find(char **ret_dir, struct lx_err *err)
{
	const char *named = getenv("LXMGR_LIBEXEC");
	lx_autofree char *dir = named && *named ? strdup(named) : beside_this_program();

	if (dir && has_workers(dir)) {
		*ret_dir = lx_move_ptr(dir);
		return 0;
	}
	if (lx_str_empty(named) && has_workers(LX_LIBEXECDIR)) {
		*ret_dir = strdup(LX_LIBEXECDIR);
		return *ret_dir ? 0 : lx_err_oom(err);
	}
	lx_err_set(err, LX_NOT_FOUND, "cannot find the worker programs %s, %s and %s in %s",
		   programs[LX_WORKER_INSTANCE], programs[LX_WORKER_IMAGE], programs[LX_WORKER_MOVE],
		   !lx_str_empty(named) ? named : LX_LIBEXECDIR);
	lx_err_hint(err, "Install them with lxagentd, or name their directory in LXMGR_LIBEXEC.");
	return -ENOENT;
}

/* ------------------------------------------------------------------ spawning */

static int set_up(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr, int sock)
{
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	if ((r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)) ||
	    (r = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)) ||
	    (r = posix_spawn_file_actions_adddup2(actions, sock, LX_WORKER_FD)) ||
	    (r = posix_spawn_file_actions_addclosefrom_np(actions, LX_WORKER_FD + 1)) ||
	    (r = posix_spawnattr_setsigmask(attr, &none)) ||
	    (r = posix_spawnattr_setsigdefault(attr, &all)) ||
	    (r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
							POSIX_SPAWN_SETSIGDEF)))
		return -r;
	return 0;
}

static bool is_proxy_variable(const char *variable)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(proxy_variables); i++) {
		size_t n = strlen(proxy_variables[i]);

		if (strncmp(variable, proxy_variables[i], n) == 0 && variable[n] == '=')
			return true;
	}
	return false;
}

static void environment(enum lx_worker_kind kind, char *envp[LX_ARRAY_SIZE(proxy_variables) + 3])
{
	size_t n = 0;

	envp[n++] = (char *)(uintptr_t)("PATH=" WORKER_PATH);
	/* Bound while it waits for its job: what is bound later, liblxc's monitor binds and keeps in memory.
	 */
	if (kind == LX_WORKER_INSTANCE)
		envp[n++] = (char *)(uintptr_t) "LD_BIND_NOW=1";
	for (char **e = environ; kind == LX_WORKER_IMAGE && *e; e++)
		if (is_proxy_variable(*e) && n <= LX_ARRAY_SIZE(proxy_variables))
			envp[n++] = *e;
	envp[n] = NULL;
}

/* `as` is a further argument, or NULL. */
static int spawn(const char *path, enum lx_worker_kind kind, const char *state_dir, const char *as, int sock,
		 pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	char *argv[] = { (char *)(uintptr_t)programs[kind], (char *)(uintptr_t)state_dir,
			 (char *)(uintptr_t)as, NULL };
	char *envp[LX_ARRAY_SIZE(proxy_variables) + 3];
	int r;

	environment(kind, envp);
	r = -posix_spawn_file_actions_init(&actions);
	if (r < 0)
		return r;
	r = -posix_spawnattr_init(&attr);
	if (r == 0) {
		r = set_up(&actions, &attr, sock);
		if (r == 0)
			r = -posix_spawn(ret_pid, path, &actions, &attr, argv, envp);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

bool lx_spawn_is_worker(const char *program)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(programs); i++)
		if (lx_streq(program, programs[i]))
			return true;
	return false;
}

/* Its number is known: it is our child and not yet waited for, so that it cannot mean another process. */
static int watch(struct lx_spawned *w, const char *what, struct lx_err *err)
{
	w->pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0);
	if (w->pidfd >= 0)
		return 0;
	int r = lx_err_errno(err, errno, "cannot watch %s", what);

	lx_spawned_discard(w);
	return r;
}

static int start(const char *dir, enum lx_worker_kind kind, const char *state_dir, const char *as,
		 struct lx_spawned *ret, struct lx_err *err)
{
	struct lx_spawned w = LX_SPAWNED_NONE;
	int worker_end;
	lx_autofree char *path = lx_path_join(dir, programs[kind]);

	if (!path)
		return lx_err_oom(err);
	int r = lx_worker_socketpair(&w.sock, &worker_end, err);

	if (r < 0)
		return r;
	r = spawn(path, kind, state_dir, as, worker_end, &w.pid);
	close(worker_end);
	if (r < 0) {
		close(w.sock);
		return lx_err_errno(err, r, "cannot start %s", path);
	}
	r = watch(&w, path, err);
	if (r == 0)
		*ret = w;
	return r;
}

int lx_spawn_worker(const char *dir, enum lx_worker_kind kind, const char *state_dir, struct lx_spawned *ret,
		    struct lx_err *err)
{
	return start(dir, kind, state_dir, NULL, ret, err);
}

int lx_spawn_zygote(const char *dir, const char *state_dir, struct lx_spawned *ret, struct lx_err *err)
{
	return start(dir, LX_WORKER_INSTANCE, state_dir, LX_ZYGOTE_ARGUMENT, ret, err);
}

int lx_spawn_from(const struct lx_spawned *zygote, struct lx_spawned *ret, struct lx_err *err)
{
	struct lx_spawned w = LX_SPAWNED_NONE;
	int worker_end, r = lx_worker_socketpair(&w.sock, &worker_end, err);

	if (r < 0)
		return r;
	w.pid = lx_zygote_fork(zygote->sock, worker_end, err);
	close(worker_end);
	if (w.pid < 0) {
		close(w.sock);
		return (int)w.pid;
	}
	r = watch(&w, programs[LX_WORKER_INSTANCE], err);
	if (r == 0)
		*ret = w;
	return r;
}

void lx_spawned_kill(const struct lx_spawned *w, int sig)
{
	if (w->pid > 0 && kill(-w->pid, sig) < 0)
		kill(w->pid, sig); /* so young that it has no session yet */
}

void lx_spawned_reap(const struct lx_spawned *w, char text[LX_SPAWN_TEXT])
{
	int status = 0;

	if (waitpid(w->pid, &status, WNOHANG) != w->pid)
		snprintf(text, LX_SPAWN_TEXT, "went away");
	else if (WIFSIGNALED(status))
		snprintf(text, LX_SPAWN_TEXT, "was killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, LX_SPAWN_TEXT, "exited with status %d", WEXITSTATUS(status));
}

void lx_spawned_release(struct lx_spawned *w)
{
	if (w->pidfd >= 0)
		close(w->pidfd);
	if (w->sock >= 0)
		close(w->sock);
	*w = LX_SPAWNED_NONE;
}

void lx_spawned_discard(struct lx_spawned *w)
{
	if (w->pid > 0) {
		lx_spawned_kill(w, SIGKILL);
		waitpid(w->pid, NULL, 0); /* a moment: it only waits, or is dead already */
	}
	lx_spawned_release(w);
}
