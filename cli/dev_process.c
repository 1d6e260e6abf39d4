/*
 * Daemons in the background: see dev.h.
 *
 * A pid alone does not say who it is, so the pid file also has the start time of the
 * process (field 22 of /proc/PID/stat), and signals go through a pidfd that was opened
 * before the start time was compared. A daemon is forked twice, so that it is nobody's
 * child here; the middle process hands its pid up a pipe, and a failed exec its errno.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cli/dev.h"
#include "lib/buf.h"
#include "lib/fs.h"

#define STOP_MS     15000 /* how long a daemon may take to end by itself */
#define KILL_MS     5000
#define LOG_TAIL    400 /* bytes of a log shown with an error */
#define CMDLINE_MAX 65536

/* ------------------------------------------------------------------ who is it */

#define STAT_STATE 1 /* fields of /proc/PID/stat, counted from the one after the name */
#define STAT_START 20

/* The start time of a living process in clock ticks since boot; 0 when there is none. */
static unsigned long long start_time(pid_t pid)
{
	char path[64], line[1024];

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	if (lx_read_line(path, line, sizeof(line)) < 0)
		return 0;
	char *rest = strrchr(line, ')'), *field; /* the name before it may be anything */
	if (!rest)
		return 0;
	rest += 2;
	for (int i = STAT_STATE; (field = strsep(&rest, " ")); i++) {
		if (i == STAT_STATE && (*field == 'Z' || *field == 'X'))
			return 0;
		if (i == STAT_START)
			return strtoull(field, NULL, 10);
	}
	return 0;
}

static char *pid_path(const struct cli_dev *d, const struct cli_daemon *daemon)
{
	lx_autofree char *name = lx_asprintf("%s.pid", daemon->name);

	return name ? cli_dev_run_path(d, name) : NULL;
}

static int write_pid(const struct cli_dev *d, const struct cli_daemon *daemon, struct lx_err *err)
{
	lx_autofree char *path = pid_path(d, daemon);
	lx_autofree char *text =
		lx_asprintf("%ld %llu %s\n", (long)daemon->pid, start_time(daemon->pid), d->state_dir);

	if (!path || !text)
		return lx_err_oom(err);
	return lx_write_file_atomic(path, text, strlen(text), 0644, err);
}

/* "PID START-TIME STATE-DIR" */
static bool parse_pid(char *line, pid_t *pid, unsigned long long *start, const char **owner)
{
	char *rest = line;
	const char *first = strsep(&rest, " "), *second = strsep(&rest, " ");
	uint64_t n, ticks;

	if (!rest || lx_parse_u64(first, &n) < 0 || lx_parse_u64(second, &ticks) < 0 || n <= 1 ||
	    n > INT32_MAX)
		return false;
	*pid = (pid_t)n;
	*start = ticks;
	*owner = rest;
	return true;
}

int cli_daemon_check(const struct cli_dev *d, struct cli_daemon *daemon, struct lx_err *err)
{
	lx_autofree char *path = pid_path(d, daemon);
	char line[4096 + 64];
	unsigned long long start;
	const char *owner;
	pid_t pid;

	daemon->pid = 0;
	if (!path)
		return lx_err_oom(err);
	if (lx_read_line(path, line, sizeof(line)) < 0 || !parse_pid(line, &pid, &start, &owner) || !start ||
	    start_time(pid) != start)
		return 0;
	if (strcmp(owner, d->state_dir) != 0) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s belongs to the cluster in %s, which runs",
				   d->setting[CLI_DEV_RUN_DIR], owner);
		lx_err_hint(err, "Stop that one, or give this one its own --run-dir and --socket.");
		return r;
	}
	daemon->pid = pid;
	return 0;
}

bool cli_daemon_lives(const struct cli_daemon *daemon)
{
	return daemon->pid && start_time(daemon->pid) != 0;
}

bool cli_daemon_was_told(const struct cli_daemon *daemon, const char *option, const char *value)
{
	lx_autobuf struct lx_buf args = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%ld/cmdline", (long)daemon->pid);
	if (lx_read_file(path, CMDLINE_MAX, &args, NULL) < 0)
		return false;
	const char *p = lx_buf_str(&args), *end = p + args.len;
	for (; p < end; p += strlen(p) + 1)
		if (lx_streq(p, option) && p + strlen(p) + 1 < end)
			return lx_streq(p + strlen(p) + 1, value);
	return false;
}

int cli_daemon_find(const char *program, char **ret, struct lx_err *err)
{
	lx_autofree char *self = realpath("/proc/self/exe", NULL);
	const char *path = getenv("PATH");

	if (self) {
		*strrchr(self, '/') = '\0';
		*ret = lx_path_join(self, program);
		if (*ret && access(*ret, X_OK) == 0)
			return 0;
		free(*ret);
	}
	lx_autofree char *copy = strdup(path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin");
	char *rest = copy, *dir;
	while (copy && (dir = strsep(&rest, ":"))) {
		*ret = *dir ? lx_path_join(dir, program) : NULL;
		if (*ret && access(*ret, X_OK) == 0)
			return 0;
		free(*ret);
	}
	*ret = NULL;
	int r = lx_err_set(err, LX_NOT_FOUND, "%s is neither beside lxmgr nor in PATH", program);
	lx_err_hint(err, "Build it (make) or install it (make install).");
	return r;
}

/* ------------------------------------------------------------------ starting */

/* What the middle process has to say: the daemon's pid, or why there is none. */
struct report {
	pid_t pid;
	int error;
};

/*
 * In the daemon-to-be. Only returns when it failed. It writes its pid file itself, while it
 * still holds the lock of `dev up`: whoever is killed meanwhile, the next one finds it.
 */
static int become(const struct cli_dev *d, const struct cli_daemon *daemon, const char *log, char **argv)
{
	struct cli_daemon self = *daemon;

	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	sigset_t none;

	if (null < 0 || out < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
	    dup2(out, STDERR_FILENO) < 0 || chdir("/") < 0)
		return errno;
	if (close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return errno;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	umask(022);
	self.pid = getpid();
	int r = write_pid(d, &self, NULL);
	if (r == 0 && daemon->netns)
		r = cli_dev_enter(daemon->netns, false);
	if (r < 0)
		return -r;
	execv(argv[0], argv);
	return errno;
}

/* In the middle process: starts the daemon, waits until it runs the program, reports. */
static void spawn(const struct cli_dev *d, const struct cli_daemon *daemon, const char *log, char **argv,
		  int report_fd)
{
	struct report report = { 0 };
	int gate[2];

	setsid();
	if (pipe2(gate, O_CLOEXEC) == 0 && (report.pid = fork()) == 0) {
		int error = become(d, daemon, log, argv);
		(void)!write(gate[1], &error, sizeof(error));
		_exit(127);
	}
	if (report.pid <= 0) {
		report.error = errno;
	} else {
		close(gate[1]);
		/* Nothing comes when exec(2) closed the other end. */
		if (lx_read_full(gate[0], &report.error, sizeof(report.error)) != sizeof(report.error))
			report.error = 0;
	}
	(void)!write(report_fd, &report, sizeof(report));
	_exit(0);
}

int cli_daemon_start(const struct cli_dev *d, struct cli_daemon *daemon, char **argv, struct lx_err *err)
{
	lx_autofree char *program = NULL;
	lx_autofree char *name = lx_asprintf("log/%s.log", daemon->name);
	lx_autofree char *log = name ? cli_dev_state_path(d, name) : NULL;
	struct report report = { 0 };
	int fds[2], r = cli_daemon_find(daemon->program, &program, err);

	if (r < 0)
		return r;
	if (!log)
		return lx_err_oom(err);
	argv[0] = program;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return lx_err_errno(err, errno, "cannot start %s", daemon->name);
	fflush(NULL);
	pid_t middle = fork();
	if (middle == 0)
		spawn(d, daemon, log, argv, fds[1]);
	r = middle < 0 ? errno : 0;
	close(fds[1]);
	if (middle > 0) {
		ssize_t n = lx_read_full(fds[0], &report, sizeof(report));
		r = n == sizeof(report) ? report.error : EPROTO;
		while (waitpid(middle, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close(fds[0]);
	if (r)
		return lx_err_errno(err, r, "cannot start %s", program);
	daemon->pid = report.pid;
	return 0;
}

int cli_run_program(char **argv, const char *netns, struct lx_err *err)
{
	int status;

	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		return lx_err_errno(err, errno, "cannot run %s", argv[0]);
	if (pid == 0) {
		signal(SIGPIPE, SIG_DFL);
		int r = netns ? cli_dev_enter(netns, true) : 0;
		if (r < 0)
			fprintf(stderr, "%s: cannot enter network namespace %s: %s\n", argv[0], netns,
				strerror(-r));
		else
			execv(argv[0], argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return lx_err_errno(err, errno, "lost sight of %s", argv[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return WIFEXITED(status) ? lx_err_set(err, LX_INTERNAL, "%s failed with exit code %d", argv[0],
					      WEXITSTATUS(status))
				 : lx_err_set(err, LX_INTERNAL, "%s was killed by signal %d", argv[0],
					      WTERMSIG(status));
}

/* ------------------------------------------------------------------ ending */

static int forget_pid(const struct cli_dev *d, const struct cli_daemon *daemon, struct lx_err *err)
{
	lx_autofree char *path = pid_path(d, daemon);

	if (!path)
		return lx_err_oom(err);
	return unlink(path) < 0 && errno != ENOENT ? lx_err_errno(err, errno, "cannot remove %s", path) : 0;
}

/* True when it ended in time. */
static bool send_and_wait(int pidfd, int signum, int timeout_ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	if (pidfd_send_signal(pidfd, signum, NULL, 0) < 0)
		return errno == ESRCH;
	return poll(&p, 1, timeout_ms) > 0;
}

int cli_daemon_stop(const struct cli_dev *d, struct cli_daemon *daemon, struct lx_err *err)
{
	int r = cli_daemon_check(d, daemon, err);

	if (r < 0)
		return r;
	if (daemon->pid) {
		lx_autoclose int pidfd = pidfd_open(daemon->pid, 0);
		if (pidfd < 0 && errno != ESRCH)
			return lx_err_errno(err, errno, "cannot stop %s", daemon->name);
		/* Once more: now that the pidfd holds it, the pid cannot become somebody else. */
		r = cli_daemon_check(d, daemon, err);
		if (r == 0 && pidfd >= 0 && daemon->pid && !send_and_wait(pidfd, SIGTERM, STOP_MS)) {
			cli_warn("%s did not stop within %d seconds: killed", daemon->name, STOP_MS / 1000);
			if (!send_and_wait(pidfd, SIGKILL, KILL_MS))
				r = lx_err_set(err, LX_INTERNAL,
					       "%s (pid %ld) does not end, not even when killed",
					       daemon->name, (long)daemon->pid);
		}
	}
	return r < 0 ? r : forget_pid(d, daemon, err);
}

void cli_daemon_blame(const struct cli_dev *d, const struct cli_daemon *daemon, struct lx_err *err)
{
	lx_autofree char *name = lx_asprintf("log/%s.log", daemon->name);
	lx_autofree char *path = name ? cli_dev_state_path(d, name) : NULL;
	lx_autoclose int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char tail[LOG_TAIL + 1];

	if (fd < 0)
		return;
	off_t size = lseek(fd, 0, SEEK_END);
	ssize_t n = pread(fd, tail, LOG_TAIL, size > LOG_TAIL ? size - LOG_TAIL : 0);
	if (n <= 0)
		return;
	tail[n] = '\0';
	/* After an option that it does not take comes "Try 'lxmgrd --help'.": here that is no cure. */
	char *try = strstr(tail, "\nTry '");

	if (try)
		n = try - tail;
	while (n > 0 && tail[n - 1] == '\n')
		n--;
	tail[n] = '\0';
	const char *line = strrchr(tail, '\n');
	lx_err_hint(err, "The end of %s: %s", path, line ? line + 1 : tail);
}
