/* Threads are read from /proc; a million of them are as many small files. */
#include "migration/dumpable.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "migration/sockets.h"

/* proc_pid_stat(5) up to the state: a number, a name of at most 64 bytes in brackets. */
#define STAT_MAX 128

/* The name may have brackets, too; behind the last one comes the state. */
static char state_of(int task, const char *tid)
{
	char path[32], text[STAT_MAX];

	snprintf(path, sizeof(path), "%.16s/stat", tid);
	lx_autoclose int fd = openat(task, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : lx_read_full(fd, text, sizeof(text));
	const char *end = n > 0 ? memrchr(text, ')', (size_t)n) : NULL;

	return end && end + 2 < text + n ? end[2] : '?';
}

static bool can_be_seized(pid_t pid)
{
	char path[64];
	bool can = true;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	lx_autoclosedir DIR *d = opendir(path);

	for (struct dirent *e; can && d && (e = readdir(d));)
		can = e->d_name[0] == '.' || state_of(dirfd(d), e->d_name) != 'D';
	return can;
}

int lx_dumpable(const pid_t *pids, size_t n, enum lx_dumpable *ret, struct lx_err *err)
{
	bool unread = false;

	*ret = LX_DUMPABLE_NOT_SEIZED;
	for (size_t i = 0; i < n; i++)
		if (!can_be_seized(pids[i]))
			return 0;
	int r = lx_sockets_unread(pids, n, &unread, err);

	*ret = unread ? LX_DUMPABLE_UNREAD : LX_DUMPABLE;
	return r;
}
