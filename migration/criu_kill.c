/*
 * Each is looked up anew in /proc and held by a pidfd, so that no number can become somebody
 * else's between the look and the signal. Who forks while it is looked for is found by the
 * next look; there is one after each death.
 */
#include "migration/criu_kill.h"

#include <ctype.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "migration/dump_dir.h"

#define ENVIRONMENT_MAX (4u << 20)
/* A process that was killed is gone when the kernel has written out what it must. */
#define DEATH_MS 5000

/* Strings, each with its NUL; the last one may lack it. */
static bool has_mark(const struct lx_buf *environment, const char *mark)
{
	size_t len = strlen(mark) + 1;

	for (size_t at = 0; at + len <= environment->len;) {
		const char *word = (const char *)environment->data + at;

		if (memcmp(word, mark, len) == 0)
			return true;
		at += strnlen(word, environment->len - at) + 1;
	}
	return false;
}

/* liblxc's, which is there as long as the guest. */
static bool is_monitor(pid_t pid)
{
	char path[64], title[sizeof("[lxc monitor]")];

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	lx_autofclose FILE *f = fopen(path, "re");

	return f && fgets(title, sizeof(title), f) && lx_streq(title, "[lxc monitor]");
}

/* A pidfd, or -1. */
static int hold_if_marked(pid_t pid, const char *mark)
{
	lx_autobuf struct lx_buf environment = { 0 };
	lx_autoclose int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	if (fd < 0 || lx_read_file(path, ENVIRONMENT_MAX, &environment, NULL) < 0 ||
	    !has_mark(&environment, mark))
		return -1;
	return lx_move_fd(fd);
}

#define MARK_MAX (LX_DUMP_DIR_MAX + sizeof(LX_MOVE_MARK "=/hook"))

static void make_mark(const char *run_dir, const char *operation, char out[MARK_MAX])
{
	char dir[LX_DUMP_DIR_MAX];

	lx_dump_dir_path(run_dir, operation, dir);
	snprintf(out, MARK_MAX, LX_MOVE_MARK "=%s/hook", dir);
}

static int find_one(const char *mark, bool monitors, pid_t *ret_pid)
{
	lx_autoclosedir DIR *d = opendir("/proc");

	for (struct dirent *e; d && (e = readdir(d));) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		int fd = pid == getpid() ? -1 : hold_if_marked(pid, mark);

		if (fd >= 0 && (monitors || !is_monitor(pid))) {
			*ret_pid = pid;
			return fd;
		}
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

static bool wait_for(int pidfd, int ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

bool lx_criu_at_work(const char *run_dir, const char *operation)
{
	char mark[MARK_MAX];
	pid_t pid;

	make_mark(run_dir, operation, mark);
	lx_autoclose int fd = find_one(mark, false, &pid);

	return fd >= 0;
}

void lx_criu_end(const char *run_dir, const char *operation, int patience_ms)
{
	uint64_t deadline = lx_now_monotonic_ns() + (uint64_t)patience_ms * LX_NSEC_PER_MSEC;
	char mark[MARK_MAX];
	pid_t pid = 0;

	make_mark(run_dir, operation, mark);
	for (int fd; (fd = find_one(mark, true, &pid)) >= 0; close(fd)) {
		uint64_t now = lx_now_monotonic_ns();
		int left = now < deadline ? (int)((deadline - now) / LX_NSEC_PER_MSEC) : 0;

		if (wait_for(fd, left))
			continue;
		lx_warn("killing what works on a move that is no more", "operation=%s pid=%d", operation,
			(int)pid);
		syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
		if (!wait_for(fd, DEATH_MS)) {
			lx_error("a process of a move does not die", "operation=%s pid=%d", operation,
				 (int)pid);
			close(fd);
			return;
		}
	}
}
