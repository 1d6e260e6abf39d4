/* What a guest calls systemd and is not, has asked for its signal. */
#include "migration/managers.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/str.h"

/* linux/magic.h, of Linux 6.9 */
#define PIDFS_MAGIC 0x50494446

#define PROGRAM "/systemd"

static bool is_of_pidfs(int pidfd)
{
	struct statfs fs;

	return fstatfs(pidfd, &fs) == 0 && fs.f_type == PIDFS_MAGIC;
}

static bool read_target(int dir, const char *name, char out[PATH_MAX])
{
	ssize_t n = readlinkat(dir, name, out, PATH_MAX - 1);

	if (n < 0)
		return false;
	out[n] = '\0';
	return true;
}

static bool is_manager(pid_t pid)
{
	char path[64], target[PATH_MAX];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	/* The second: a newer one has been installed. */
	return read_target(AT_FDCWD, path, target) &&
	       (lx_ends_with(target, PROGRAM) || lx_ends_with(target, PROGRAM " (deleted)"));
}

/* "anon_inode:[pidfd]" */
static bool has_pidfds(pid_t pid)
{
	char path[64], target[PATH_MAX];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	lx_autoclosedir DIR *d = opendir(path);

	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.' && read_target(dirfd(d), e->d_name, target) &&
		    strstr(target, "pidfd"))
			return true;
	return false;
}

unsigned lx_managers_reload(const pid_t *pids, size_t n)
{
	unsigned told = 0;

	for (size_t i = 0; i < n; i++) {
		if (!is_manager(pids[i]))
			continue;
		lx_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pids[i], 0);

		/* Looked at through what cannot become another process. */
		if (pidfd >= 0 && is_of_pidfs(pidfd) && is_manager(pids[i]) && has_pidfds(pids[i]) &&
		    syscall(SYS_pidfd_send_signal, pidfd, SIGHUP, NULL, 0) == 0)
			told++;
	}
	return told;
}
