/*
 * What the guest said while booting and since.
 *
 * A running guest with systemd is asked for its journal, through its own journalctl. For
 * others it is the file their init's output is appended to (see configure.c), running or
 * not. Following ends when the reader closes its end, or with the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/instance/attach.h"
#include "agent/worker/instance/guest.h"
#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/proc.h"
#include "agent/worker/instance/run.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define CHUNK 65536

/* ------------------------------------------------------------------ journal */

static bool runs_systemd(const struct lx_run *run)
{
	char path[64], target[LX_JOB_PATH_MAX];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)run->init);
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	target[n < 0 ? 0 : n] = '\0';
	return lx_ends_with(target, "/systemd");
}

/* Until it ends, or nobody listens any more: journalctl would notice that with its next line only. */
static void wait_or_kill(pid_t pid, int out)
{
	lx_autoclose int child = (int)syscall(SYS_pidfd_open, pid, 0);
	/* Errors and hang-ups are reported without being asked for. */
	struct pollfd p[2] = { { .fd = child, .events = POLLIN }, { .fd = out } };

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (p[1].revents && !p[0].revents)
		kill(-pid, SIGKILL);
}

static int show_journal(const struct lx_job *job, const Lxmgr__V1__ConsoleLogRequest *req, int out,
			struct lx_err *err)
{
	char lines[32] = "--lines=all", follow[] = "--follow";
	char prog[] = "journalctl", boot[] = "--boot", format[] = "--output=short-precise",
	     pager[] = "--no-pager";
	char *argv[] = { prog, boot, format, pager, lines, req->follow ? follow : NULL, NULL };
	lx_autoclose int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct lx_program program = { .argv = argv,
				      .argc = LX_ARRAY_SIZE(argv) - 1,
				      .user = "",
				      .cwd = "/",
				      .stdio = { null, out, null } };
	Lxmgr__V1__ExecExit end = LXMGR__V1__EXEC_EXIT__INIT;
	pid_t pid;
	int pty;

	if (null < 0)
		return lx_err_errno(err, errno, "cannot open /dev/null");
	if (req->lines)
		snprintf(lines, sizeof(lines), "--lines=%u", req->lines);
	int r = lx_program_start(job, &program, &pid, &pty, err);

	if (r < 0)
		return r;
	wait_or_kill(pid, out);
	lx_program_wait(pid, &end);
	if (end.code == 0 || end.signal)
		return 0;
	return lx_err_set(err, LX_FAILED_PRECONDITION, "journalctl in %s failed with exit code %d", job->name,
			  end.code);
}

/* ------------------------------------------------------------------ file */

static int no_log(const struct lx_job *job, bool running, struct lx_err *err)
{
	int r;

	if (running) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s has no log that can be read from outside",
			       job->name);
		lx_err_hint(err, "Its init writes to " LX_CONSOLE_LOG
				 "; that file is gone, never was, or is not there yet.");
		return r;
	}
	r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s has no log that can be read while it is stopped",
		       job->name);
	lx_err_hint(err, "Its journal can be read while it runs: lxmgr start %s", job->name);
	return r;
}

/* Where the last `lines` lines begin; all of them for 0. */
static off_t find_lines(int fd, off_t size, uint32_t lines)
{
	static char chunk[CHUNK];
	off_t at = size;

	/* The newline at the very end ends the last line; it does not begin one. */
	for (uint64_t seen = 0; lines > 0 && at > 0;) {
		size_t n = at < CHUNK ? (size_t)at : CHUNK;

		at -= (off_t)n;
		if (pread(fd, chunk, n, at) != (ssize_t)n)
			return 0;
		for (size_t i = n; i-- > 0;)
			if (chunk[i] == '\n' && at + (off_t)i + 1 < size && ++seen == lines)
				return at + (off_t)i + 1;
	}
	return 0;
}

/* 1: the reader is gone. */
static int copy_rest(int fd, int out, struct lx_err *err)
{
	static char chunk[CHUNK];

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0)
			return lx_err_errno(err, errno, "cannot read %s", LX_CONSOLE_LOG);
		if (n == 0)
			return 0;
		n = lx_write_full(out, chunk, (size_t)n);
		if (n == -EPIPE || n == -ECONNRESET)
			return 1;
		if (n < 0)
			return lx_err_errno(err, (int)n, "cannot pass on %s", LX_CONSOLE_LOG);
	}
}

static int follow_file(int fd, int out, int init, struct lx_err *err)
{
	lx_autoclose int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (watch < 0 || inotify_add_watch(watch, LX_CONSOLE_LOG, IN_MODIFY) < 0)
		return lx_err_errno(err, errno, "cannot watch %s", LX_CONSOLE_LOG);
	for (;;) {
		char events[4096];
		/* Copied after the watch was set up: nothing falls in between. */
		int r = copy_rest(fd, out, err);

		if (r != 0)
			return r < 0 ? r : 0;
		struct pollfd p[3] = { { .fd = watch, .events = POLLIN },
				       { .fd = init, .events = POLLIN },
				       { .fd = out } };

		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return lx_err_errno(err, errno, "cannot wait for %s", LX_CONSOLE_LOG);
		if (p[2].revents)
			return 0;
		if (p[1].revents) {
			r = copy_rest(fd, out, err);
			return r < 0 ? r : 0;
		}
		(void)!read(watch, events, sizeof(events));
	}
}

static int show_file(const struct lx_job *job, const Lxmgr__V1__ConsoleLogRequest *req,
		     const struct lx_run *run, int out, struct lx_err *err)
{
	lx_autoclose int init = run->init ? lx_proc_open(run->init, run->init_start) : -1;
	struct stat st;
	int r = lx_guest_enter(job, err);

	if (r < 0)
		return r;
	lx_autoclose int fd = open(LX_CONSOLE_LOG, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return no_log(job, run->init != 0, err);
	if (lseek(fd, find_lines(fd, st.st_size, req->lines), SEEK_SET) < 0)
		return lx_err_errno(err, errno, "cannot read %s", LX_CONSOLE_LOG);
	if (req->follow && init >= 0)
		return follow_file(fd, out, init, err);
	r = copy_rest(fd, out, err);
	return r < 0 ? r : 0;
}

/* ------------------------------------------------------------------ the verb */

int lx_job_console_log(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	const Lxmgr__V1__ConsoleLogRequest *req = job->msg->console_log;
	struct lx_run run = { 0 };

	if (job->fds.n != 1)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "no descriptor came to write the log to");
	/* A reader that has gone is no error: writing says so. */
	(void)signal(SIGPIPE, SIG_IGN);
	int r = lx_run_find(job, &run, err);

	if (r == 0)
		run = (struct lx_run){ 0 };
	if (r >= 0)
		r = r == 1 && runs_systemd(&run) ? show_journal(job, req, job->fds.fd[0], err)
						 : show_file(job, req, &run, job->fds.fd[0], err);
	if (r < 0)
		lx_err_wrap(err, "cannot show the log of %s", job->name);
	return r;
}
