/*
 * Starting and ending helper programs.
 *
 * A contained child is process 1 of its own namespaces; it starts the program, reaps what
 * is left to it, and with its end the kernel kills all the others and drops all mounts.
 * Its death signal makes that happen also when we are killed.
 *
 * Ways to fail: no program, no process, no pipe. A program that cannot be executed writes
 * so to its stderr and exits 127, as in a shell.
 */
#include "images/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define NOBODY 65534
/* Memory of a sealed child. Its input decides how much it wants. */
#define SEALED_MEMORY_MAX (UINT64_C(2) << 30)
/* The largest file it can write: room for its messages, no more. */
#define SEALED_FILE_MAX (64 * 1024)

char *lx_find_program(const char *name)
{
	const char *dirs = LX_CHILD_PATH;

	for (const char *p = dirs; *p;) {
		size_t n = strcspn(p, ":");
		char *path = lx_asprintf("%.*s/%s", (int)n, p, name);

		if (!path || access(path, X_OK) == 0)
			return path;
		free(path);
		p += n + (p[n] == ':');
	}
	return NULL;
}

int lx_need_program(const char *name, const char *package, char **ret, struct lx_err *err)
{
	*ret = lx_find_program(name);
	if (*ret)
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "the program %s is not installed on the node", name);

	lx_err_hint(err, "Install it there: apt-get install %s", package);
	return r;
}

/* ------------------------------------------------------------------ in the child */

static void fail(const char *what, const char *subject)
{
	dprintf(STDERR_FILENO, "E: cannot %s %s: %s\n", what, subject, strerror(errno));
	_exit(127);
}

static void seal(void)
{
	struct rlimit files = { SEALED_FILE_MAX, SEALED_FILE_MAX }, none = { 0, 0 };
	struct rlimit memory = { SEALED_MEMORY_MAX, SEALED_MEMORY_MAX };

	if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		fail("leave the node's", "namespaces");
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		fail("become", "nobody");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_FSIZE, &files) < 0 ||
	    setrlimit(RLIMIT_AS, &memory) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
		fail("restrict", "itself");
}

/* The parent may have died before the death signal was armed: then nobody reads our pipe. */
static void die_with_parent(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail("arm", "its death signal");
	if (poll(&out, 1, 0) > 0 && (out.revents & POLLERR))
		_exit(127);
}

/* Moves a descriptor to its place; dup2() onto itself would keep close-on-exec. */
static void place(int fd, int target)
{
	if (fd == target) {
		if (fcntl(fd, F_SETFD, 0) < 0)
			fail("prepare", "descriptors");
	} else if (dup2(fd, target) < 0) {
		fail("prepare", "descriptors");
	}
}

static void run(const struct lx_child_spec *spec, char **env)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		sigaction(s, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (spec->flags & LX_CHILD_SEALED)
		seal();
	/* After the change of user, which clears it. */
	die_with_parent();
	execve(spec->argv[0], (char *const *)(uintptr_t)spec->argv, env);
	fail("run", spec->argv[0]);
}

/* Process 1: starts the program and waits for it and for orphans. */
static void contain(const struct lx_child_spec *spec, char **env)
{
	int status;

	die_with_parent();
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		fail("contain", spec->argv[0]);
	pid_t pid = fork();

	if (pid < 0)
		fail("start", spec->argv[0]);
	if (pid == 0)
		run(spec, env);
	for (;;) {
		pid_t ended = wait(&status);

		if (ended == pid)
			_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		if (ended < 0 && errno != EINTR)
			_exit(127);
	}
}

static void begin(const struct lx_child_spec *spec, char **env, int out)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0)
		fail("open", "/dev/null");
	int give = spec->give_fd, err_fd = spec->err_fd;

	/* Out of the way of the low numbers that are filled below. */
	if (give >= 0)
		give = fcntl(give, F_DUPFD, 10);
	if (err_fd >= 0)
		err_fd = fcntl(err_fd, F_DUPFD, 10);
	out = fcntl(out, F_DUPFD, 10);
	null = fcntl(null, F_DUPFD, 10);
	place(null, STDIN_FILENO);
	place(out, STDOUT_FILENO);
	place(err_fd >= 0 ? err_fd : out, STDERR_FILENO);
	if (give >= 0)
		place(give, LX_CHILD_FD);
	if (syscall(SYS_close_range, give >= 0 ? LX_CHILD_FD + 1 : LX_CHILD_FD, ~0U, 0) < 0)
		fail("close", "descriptors");
	if (spec->flags & LX_CHILD_CONTAINED)
		contain(spec, env);
	run(spec, env);
}

/* ------------------------------------------------------------------ around it */

static pid_t fork_with(unsigned long flags)
{
	return (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
}

int lx_child_start(const struct lx_child_spec *spec, struct lx_child *ret, struct lx_err *err)
{
	static const char path[] = "PATH=" LX_CHILD_PATH;
	size_t n_env = 0;
	int pair[2];

	while (spec->env && spec->env[n_env])
		n_env++;
	lx_autofree char **env = calloc(n_env + 2, sizeof(*env));

	if (!env)
		return lx_err_oom(err);
	env[0] = (char *)(uintptr_t)path;
	if (n_env > 0)
		memcpy(env + 1, spec->env, n_env * sizeof(*env));
	if (pipe2(pair, O_CLOEXEC) < 0)
		return lx_err_errno(err, errno, "cannot make a pipe for %s", spec->argv[0]);
	pid_t pid = fork_with(spec->flags & LX_CHILD_CONTAINED ? CLONE_NEWPID | CLONE_NEWNS : 0);

	if (pid == 0)
		begin(spec, env, pair[1]);
	int e = errno;

	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return lx_err_errno(err, e, "cannot start %s", spec->argv[0]);
	}
	*ret = (struct lx_child){ .pid = pid, .out = pair[0] };
	return 0;
}

int lx_child_wait(struct lx_child *c)
{
	int status = 0;
	pid_t r;

	close(c->out);
	c->out = -1;
	do
		r = waitpid(c->pid, &status, 0);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return 127;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void lx_child_kill(struct lx_child *c)
{
	kill(c->pid, SIGKILL);
	lx_child_wait(c);
}

int lx_child_output(const char *const *argv, size_t max, struct lx_buf *out, struct lx_err *err)
{
	lx_autoclose int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct lx_child_spec spec = { .argv = argv, .give_fd = -1, .err_fd = null };
	struct lx_child child;
	int r = lx_child_start(&spec, &child, err);

	if (r < 0)
		return r;
	r = lx_buf_reserve(out, max);
	ssize_t n = r < 0 ? r : lx_read_full(child.out, out->data + out->len, max);

	if (n < 0) {
		lx_child_kill(&child);
		return lx_err_errno(err, (int)n, "cannot read what %s says", argv[0]);
	}
	out->len += (size_t)n;
	out->data[out->len] = '\0';
	return lx_child_wait(&child);
}
