/*
 * Reading /proc and handling pidfds. A process number alone is never trusted: whoever
 * opens a pidfd checks the start time afterwards, so that a number that was used again
 * in between is noticed.
 */
#include "agent/worker/instance/proc.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/str.h"

/* The n-th field from p on, counted from 0; they are separated by one blank each. */
static const char *field(const char *p, int n)
{
	while (p && n-- > 0) {
		p = strchr(p, ' ');
		p += p != NULL;
	}
	return p;
}

int lx_proc_stat(pid_t pid, uint64_t *ret_start, pid_t *ret_parent)
{
	char path[64], line[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (pid <= 0 || lx_read_line(path, line, sizeof(line)) < 0)
		return -ESRCH;
	/* The second field is the process' own choice and may hold anything, so start behind it. */
	const char *state = strrchr(line, ')');

	state = state ? field(state, 1) : NULL;
	const char *parent = field(state, 1), *start = field(state, 22 - 3);

	if (!start || *state == 'Z' || *state == 'X')
		return -ESRCH;
	if (ret_parent)
		*ret_parent = (pid_t)strtol(parent, NULL, 10);
	if (ret_start)
		*ret_start = strtoull(start, NULL, 10);
	return 0;
}

bool lx_proc_is(pid_t pid, uint64_t start)
{
	uint64_t now;

	return lx_proc_stat(pid, &now, NULL) == 0 && now == start;
}

bool lx_proc_is_monitor(pid_t pid, const char *lxc_path, const char *name)
{
	char path[64], line[2048];
	lx_autofree char *want = lx_asprintf("[lxc monitor] %s %s", lxc_path, name);

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	return want && pid > 0 && lx_read_line(path, line, sizeof(line)) == 0 && lx_streq(line, want);
}

pid_t lx_proc_child(pid_t pid)
{
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	if (pid <= 0 || lx_read_line(path, line, sizeof(line)) < 0)
		return 0;
	return (pid_t)strtol(line, NULL, 10);
}

int lx_proc_open(pid_t pid, uint64_t start)
{
	lx_autoclose int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return errno == EINVAL ? -ESRCH : -errno;
	if (!lx_proc_is(pid, start))
		return -ESRCH;
	return lx_move_fd(fd);
}

int lx_proc_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

int lx_proc_wait(int pidfd, int timeout_ms)
{
	uint64_t deadline = lx_now_monotonic_ns() + (uint64_t)timeout_ms * LX_NSEC_PER_MSEC;
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	for (;;) {
		int left = -1;

		if (timeout_ms >= 0) {
			uint64_t now = lx_now_monotonic_ns();

			left = now < deadline ? (int)((deadline - now) / LX_NSEC_PER_MSEC) + 1 : 0;
		}
		int r = poll(&p, 1, left);

		if (r > 0)
			return 0;
		if (r == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}
