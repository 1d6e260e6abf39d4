/*
 * Asking lxcfs. That it is mounted says the table of mounts; that it serves, one file that is read
 * and has the line every meminfo has. Nothing else touches it, and a child does that where waiting is
 * no choice: one that stands still lets nobody go but by a signal that kills.
 */
#include "agent/worker/lxcfs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/mounts.h"

/* It answers within a millisecond, on a busy machine within some more. */
#define ANSWER_MS 2000
#define PATH_LEN  1024
/* Milliseconds for a child that was killed to go. */
#define REAP_TRIES 100

/* What a child says. */
struct answer {
	lx_lxcfs_set files;
	int error; /* errno; 0: it serves */
};

void lx_lxcfs_find(const char *dir, struct lx_lxcfs *ret)
{
	lx_automounts struct lx_mounts t = { 0 };
	const struct lx_mount *top = NULL;

	*ret = (struct lx_lxcfs){ .serves = false };
	if (lx_mounts_read(getpid(), &t, NULL) < 0) {
		snprintf(ret->why, sizeof(ret->why), "cannot be looked for: no table of mounts");
		return;
	}
	/* The last one hides those before. */
	for (size_t i = 0; i < t.n; i++)
		if (lx_streq(t.m[i].point, dir))
			top = &t.m[i];
	if (top && lx_streq(top->fstype, LX_LXCFS_FSTYPE)) {
		ret->major = top->major;
		ret->minor = top->minor;
	} else {
		snprintf(ret->why, sizeof(ret->why), "is not mounted at %.200s", dir);
	}
}

static int read_meminfo(const char *dir)
{
	char path[PATH_LEN], text[64];

	snprintf(path, sizeof(path), "%s/proc/meminfo", dir);
	lx_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0)
		return errno;
	text[n] = '\0';
	return lx_starts_with(text, "MemTotal:") ? 0 : EBADMSG;
}

/* System calls only: also for the child of a process that has threads. */
static void ask(const char *dir, struct answer *a)
{
	char path[PATH_LEN];

	*a = (struct answer){ .error = read_meminfo(dir) };
	for (size_t i = 0; i < LX_LXCFS_FILES && a->error == 0; i++) {
		snprintf(path, sizeof(path), "/%s", lx_lxcfs_files[i]);
		/* What this kernel has not, a guest of it has no place for. */
		if (!lx_path_exists(path))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, lx_lxcfs_files[i]);
		if (lx_path_exists(path))
			a->files |= 1u << i;
	}
}

static void take(const struct answer *a, struct lx_lxcfs *ret)
{
	ret->serves = a->error == 0;
	ret->files = a->files;
	ret->silent = a->error == ETIMEDOUT;
	if (a->error == ENOTCONN || a->error == ECONNABORTED)
		snprintf(ret->why, sizeof(ret->why), "has ended, and left its mount behind");
	else if (a->error == ETIMEDOUT)
		snprintf(ret->why, sizeof(ret->why), "does not answer");
	else if (a->error)
		snprintf(ret->why, sizeof(ret->why), "cannot be read: %s", strerror(a->error));
}

void lx_lxcfs_ask(const char *dir, struct lx_lxcfs *ret)
{
	struct answer a;

	lx_lxcfs_find(dir, ret);
	if (!ret->major && !ret->minor)
		return;
	ask(dir, &a);
	take(&a, ret);
}

/* What it says in time, else ETIMEDOUT. */
static void hear(int fd, struct answer *a)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, ANSWER_MS) != 1 || read(fd, a, sizeof(*a)) != sizeof(*a))
		*a = (struct answer){ .error = ETIMEDOUT };
}

/*
 * A request that lxcfs has taken in hand is not given up even by a signal that kills: such a child is left
 * to whoever reaps what we leave.
 */
static void end_child(pid_t child, bool stuck)
{
	kill(child, SIGKILL);
	for (int i = 0; waitpid(child, NULL, stuck ? WNOHANG : 0) == 0 && i < REAP_TRIES; i++)
		(void)poll(NULL, 0, 1);
}

void lx_lxcfs_ask_soon(const char *dir, struct lx_lxcfs *ret)
{
	struct answer a = { .error = EAGAIN };
	int ends[2];

	lx_lxcfs_find(dir, ret);
	if (!ret->major && !ret->minor)
		return;
	if (pipe2(ends, O_CLOEXEC) == 0) {
		pid_t child = fork();

		if (child == 0) {
			ask(dir, &a);
			_exit(write(ends[1], &a, sizeof(a)) == sizeof(a) ? 0 : 1);
		}
		close(ends[1]);
		if (child > 0) {
			hear(ends[0], &a);
			end_child(child, a.error == ETIMEDOUT);
		}
		close(ends[0]);
	}
	take(&a, ret);
}
