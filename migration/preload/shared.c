/*
 * Loaded into CRIU (pages.c): memory that processes share. CRIU looks for the holes of each segment
 * (criu/shmem.c, CRIU 4.2) and dumps what lies between them. What has been copied already
 * (migration/hidden_pages.h) is shown as a hole.
 */
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migration/hidden_runs.h"

/* Of the segment that was looked at last: CRIU dumps one after the other. */
static struct {
	dev_t dev;
	ino_t ino;
	struct lx_hidden_runs runs;
} hidden;

static bool is_hidden(int fd)
{
	char name[64];
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !lx_is_shared_memory(&st))
		return false;
	lx_hidden_runs_wait();
	if (st.st_dev != hidden.dev || st.st_ino != hidden.ino) {
		hidden.dev = st.st_dev;
		hidden.ino = st.st_ino;
		snprintf(name, sizeof(name), LX_HIDDEN_SEGMENT "%llu", (unsigned long long)st.st_ino);
		lx_hidden_runs_load(name, &hidden.runs);
	}
	return hidden.runs.n > 0;
}

static off64_t seek(int fd, off64_t at, int whence)
{
	return syscall(SYS_lseek, fd, at, whence);
}

static off64_t data_from(int fd, off64_t at)
{
	for (size_t i = 0;; i++) {
		at = seek(fd, at, SEEK_DATA);
		while (at >= 0 && i < hidden.runs.n && hidden.runs.v[i].end <= (uint64_t)at)
			i++;
		if (at < 0 || i == hidden.runs.n || hidden.runs.v[i].start > (uint64_t)at)
			return at;
		at = (off64_t)hidden.runs.v[i].end;
	}
}

static off64_t hole_from(int fd, off64_t at)
{
	off64_t hole = seek(fd, at, SEEK_HOLE);

	for (size_t i = 0; i < hidden.runs.n && hole >= 0; i++)
		if (hidden.runs.v[i].end > (uint64_t)at) {
			off64_t start = (off64_t)hidden.runs.v[i].start;

			start = start > at ? start : at;
			return start < hole ? start : hole;
		}
	return hole;
}

/* As libc's. */
__attribute__((visibility("default"))) off64_t lseek64(int fd, off64_t offset, int whence)
{
	if (whence == SEEK_DATA && is_hidden(fd))
		return data_from(fd, offset);
	if (whence == SEEK_HOLE && is_hidden(fd))
		return hole_from(fd, offset);
	return seek(fd, offset, whence);
}
