/*
 * Finding workers without an agent. A worker is known by its first two arguments: the
 * program's name and the state directory it works on (spawn.c). liblxc's monitors are forks
 * of workers, but give themselves another title, so they are not found here.
 */
#include "agent/orphans.h"

#include <ctype.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/spawn.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"

/* What a job in its prime takes is milliseconds. */
#define PATIENCE_MS 3000
#define DEATH_MS    5000

/* True for a worker of ours: `title` is its arguments, each with its NUL. */
static bool is_worker(const struct lx_buf *title, const char *state_dir)
{
	const char *program = lx_buf_str(title);
	size_t n = strlen(program) + 1;

	if (!lx_spawn_is_worker(program) || n >= title->len)
		return false;
	return strcmp((const char *)title->data + n, state_dir) == 0;
}

/* An orphan, held by a pidfd so that its number cannot become somebody else's; -1: none left. */
static int find_orphan(const char *state_dir, pid_t *ret_pid)
{
	lx_autoclosedir DIR *d = opendir("/proc");

	if (!d)
		return -1;
	for (struct dirent *e; (e = readdir(d));) {
		lx_autobuf struct lx_buf title = { 0 };
		char path[64];
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		int fd = (int)syscall(SYS_pidfd_open, pid, 0);

		snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
		if (fd >= 0 && lx_read_file(path, 65536, &title, NULL) == 0 && is_worker(&title, state_dir)) {
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

void lx_orphans_end(const char *state_dir)
{
	uint64_t deadline = lx_now_monotonic_ns() + PATIENCE_MS * LX_NSEC_PER_MSEC;
	pid_t pid;

	for (int fd; (fd = find_orphan(state_dir, &pid)) >= 0; close(fd)) {
		uint64_t now = lx_now_monotonic_ns();
		int left = now < deadline ? (int)((deadline - now) / LX_NSEC_PER_MSEC) : 0;

		lx_info("waiting for a worker of the agent before", "pid=%d", pid);
		if (wait_for(fd, left))
			continue;
		lx_warn("killing a worker of the agent before", "pid=%d", pid);
		kill(-pid, SIGKILL); /* its session; pidfds cannot name those */
		syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
		if (!wait_for(fd, DEATH_MS)) {
			lx_error("a worker does not die", "pid=%d", pid);
			close(fd);
			return;
		}
	}
}
