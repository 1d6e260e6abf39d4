/*
 * Raw mode and the way back: see terminal.h.
 *
 * One terminal a process, so its saved state is global: signal handlers have to find it.
 * tcsetattr(3) is async-signal-safe. Signals that end the process restore and are raised
 * again with their default action, so that the parent sees the true cause. Those the
 * caller handles on its loop are left alone.
 */
#include "cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "lib/cleanup.h"

static struct {
	int fd;
	struct termios before, raw;
	volatile sig_atomic_t is_raw;
} terminal = { .fd = -1 };

static const int deadly[] = { SIGQUIT, SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGXCPU, SIGALRM };

void cli_terminal_restore(void)
{
	if (!terminal.is_raw)
		return;
	terminal.is_raw = 0;
	tcsetattr(terminal.fd, TCSANOW, &terminal.before);
}

static void set_raw(void)
{
	if (tcsetattr(terminal.fd, TCSANOW, &terminal.raw) == 0)
		terminal.is_raw = 1;
}

static void on_deadly(int signum)
{
	cli_terminal_restore();
	signal(signum, SIG_DFL);
	raise(signum);
}

/* Stopped from outside (in raw mode Ctrl-Z goes to the instance). */
static void on_stop(int signum)
{
	int before = errno;

	cli_terminal_restore();
	raise(SIGSTOP);
	set_raw();
	errno = before;
}

int cli_terminal_raw(int fd, struct lx_err *err)
{
	static int at_exit;

	if (tcgetattr(fd, &terminal.before) < 0)
		return lx_err_errno(err, errno, "cannot read the terminal's mode");
	terminal.fd = fd;
	terminal.raw = terminal.before;
	cfmakeraw(&terminal.raw);
	if (!at_exit && atexit(cli_terminal_restore) == 0)
		at_exit = 1;
	for (size_t i = 0; i < LX_ARRAY_SIZE(deadly); i++)
		sigaction(deadly[i], &(struct sigaction){ .sa_handler = on_deadly }, NULL);
	sigaction(SIGTSTP, &(struct sigaction){ .sa_handler = on_stop, .sa_flags = SA_RESTART }, NULL);
	/* A job in the background that restores the mode must not be stopped for it. */
	signal(SIGTTOU, SIG_IGN);
	set_raw();
	return terminal.is_raw ? 0 : lx_err_errno(err, errno, "cannot put the terminal into raw mode");
}

_Bool cli_terminal_size(int fd, uint32_t *rows, uint32_t *cols)
{
	struct winsize ws;

	if (ioctl(fd, TIOCGWINSZ, &ws) < 0 || !ws.ws_row || !ws.ws_col)
		return 0;
	*rows = ws.ws_row;
	*cols = ws.ws_col;
	return 1;
}
