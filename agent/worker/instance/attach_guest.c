/*
 * Starting a program in a guest, the guest's half: this runs with the guest's root, ids and
 * confinement, in a child of the worker. It has our memory until it executes the program, so
 * the worker has made itself undumpable before, and the kernel does not let the guest look at it.
 * No descriptor of ours but the three of the program outlives the exec.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/worker/instance/attach.h"
#include "agent/worker/instance/guest_user.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fd_pass.h"
#include "lib/fs.h"

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define TERM_DEFAULT "xterm"

/* What shells say by their exit code. */
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND      127

/* ------------------------------------------------------------------ user */

/* At most LX_GUEST_DB_MAX bytes of a regular file; a missing one is empty. */
static int read_db(const char *path, struct lx_buf *out)
{
	/* Nobody knows what the guest has put there: a FIFO must not stop us. */
	lx_autoclose int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (lx_buf_reserve(out, LX_GUEST_DB_MAX + 1) < 0)
		return -ENOMEM;
	ssize_t n = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)
			    ? lx_read_full(fd, out->data, LX_GUEST_DB_MAX)
			    : 0;

	out->len = n > 0 ? (size_t)n : 0;
	out->data[out->len] = '\0';
	return 0;
}

static int find_user(const char *who, struct lx_guest_user *ret, struct lx_err *err)
{
	lx_autobuf struct lx_buf passwd = { 0 }, group = { 0 };

	if (read_db("/etc/passwd", &passwd) < 0 || read_db("/etc/group", &group) < 0)
		return lx_err_oom(err);
	return lx_guest_user_find(lx_buf_str(&passwd), lx_buf_str(&group), who, ret, err);
}

static int become(const struct lx_guest_user *u, struct lx_err *err)
{
	if (setgroups(u->n_groups, u->groups) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
	    setresuid(u->uid, u->uid, u->uid) < 0)
		return lx_err_errno(err, errno, "cannot become user %s in the guest", u->name);
	return 0;
}

static int go_to(const struct lx_program *p, const struct lx_guest_user *u, struct lx_err *err)
{
	if (*p->cwd) {
		if (chdir(p->cwd) < 0)
			return lx_err_errno(err, errno, "cannot change to the directory %s in the guest",
					    p->cwd);
		return 0;
	}
	if (chdir(u->home) < 0 && chdir("/") < 0)
		return lx_err_errno(err, errno, "cannot change to the guest's root directory");
	return 0;
}

/* ------------------------------------------------------------------ environment */

static int put_env(const char *name, const char *value, struct lx_err *err)
{
	return setenv(name, value, 1) < 0 ? lx_err_oom(err) : 0;
}

/* Becomes our own environment, which the program inherits. */
static int make_env(const struct lx_program *p, const struct lx_guest_user *u, struct lx_err *err)
{
	int r;

	clearenv();
	if ((r = put_env("PATH", PATH_DEFAULT, err)) < 0 || (r = put_env("HOME", u->home, err)) < 0 ||
	    (r = put_env("USER", u->name, err)) < 0 || (r = put_env("LOGNAME", u->name, err)) < 0 ||
	    (r = put_env("SHELL", u->shell, err)) < 0)
		return r;
	if (p->terminal && (r = put_env("TERM", TERM_DEFAULT, err)) < 0)
		return r;
	for (size_t i = 0; i < p->n_env; i++)
		if (putenv(p->env[i]) != 0)
			return lx_err_oom(err);
	return 0;
}

/* ------------------------------------------------------------------ descriptors */

/* In the guest's own devpts: whoever reads /proc inside finds a terminal that exists there. */
static int open_pty(const struct lx_program *p, const struct lx_guest_user *u, int *ret_master,
		    int *ret_slave, struct lx_err *err)
{
	struct winsize size = { .ws_row = p->rows, .ws_col = p->cols };
	int unlock = 0;
	lx_autoclose int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return lx_err_errno(err, errno, "cannot get a terminal in the guest");
	lx_autoclose int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (slave < 0)
		return lx_err_errno(err, errno, "cannot open the terminal in the guest");
	/* The group stays the one devpts is mounted with. */
	if (fchown(slave, u->uid, (gid_t)-1) < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
		return lx_err_errno(err, errno, "cannot set the terminal up in the guest");
	*ret_master = lx_move_fd(master);
	*ret_slave = lx_move_fd(slave);
	return 0;
}

static int put_stdio(const int fd[3], struct lx_err *err)
{
	for (int i = 0; i < 3; i++)
		if (dup2(fd[i], i) < 0)
			return lx_err_errno(err, errno, "cannot set up stdin, stdout and stderr");
	return 0;
}

static int take_terminal(int slave, struct lx_err *err)
{
	int r = put_stdio((int[3]){ slave, slave, slave }, err);

	if (r == 0 && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		r = lx_err_errno(err, errno, "cannot make the terminal the controlling one");
	return r;
}

/* ------------------------------------------------------------------ the program */

static void reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int exec_failed(const char *what)
{
	int code = errno == ENOENT || errno == ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;

	if (errno == ENOENT)
		dprintf(STDERR_FILENO, "%s: command not found\n", what);
	else
		dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
	return code;
}

/* A login prompt as on a console; where the guest has none, the user's shell as login shell. */
static int run_console(const struct lx_program *p, const struct lx_guest_user *u)
{
	const char *slash = strrchr(u->shell, '/');
	char argv0[PATH_MAX + 1];

	if (!*p->user) {
		execl("/bin/login", "login", (char *)NULL);
		execl("/usr/bin/login", "login", (char *)NULL);
	}
	snprintf(argv0, sizeof(argv0), "-%s", slash ? slash + 1 : u->shell);
	execl(u->shell, argv0, (char *)NULL);
	execl("/bin/sh", "-sh", (char *)NULL);
	return exec_failed(u->shell);
}

static int run_program(const struct lx_program *p, const struct lx_guest_user *u)
{
	if (p->console)
		return run_console(p, u);
	/* Looks through PATH of the environment made above. */
	execvp(p->argv[0], p->argv);
	return exec_failed(p->argv[0]);
}

/* ------------------------------------------------------------------ all of it */

static void tell(int channel, int r, const struct lx_err *err, int master)
{
	struct lx_attached_outcome outcome = { .r = r, .err = *err };

	(void)lx_fd_send(channel, &outcome, sizeof(outcome), master);
}

static int get_ready(const struct lx_program *p, struct lx_guest_user *u, int *ret_master, struct lx_err *err)
{
	int slave = -1;
	int r = find_user(p->user, u, err);

	if (r < 0)
		return r;
	if (p->terminal) {
		r = open_pty(p, u, ret_master, &slave, err);
		if (r == 0)
			r = take_terminal(slave, err);
	} else {
		r = put_stdio(p->stdio, err);
	}
	if (r == 0)
		r = make_env(p, u, err);
	if (r == 0)
		r = become(u, err);
	return r < 0 ? r : go_to(p, u, err);
}

int lx_attached_main(void *arg)
{
	const struct lx_attached *a = arg;
	/* Two paths of a page each: not for the stack of a frame that lives on. */
	static struct lx_guest_user user;
	struct lx_err err = LX_ERR_INIT;
	int master = -1;

	reset_signals();
	umask(022);
	(void)setsid();
	int r = get_ready(a->program, &user, &master, &err);

	tell(a->channel, r, &err, master);
	if (r < 0)
		return EXIT_FAILURE;
	/* Whatever liblxc or we have open: nothing of it goes into the guest. */
	(void)syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	return run_program(a->program, &user);
}
