#include "migration/hidden_runs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migration/segments.h"

void lx_hidden_runs_load(const char *name, struct lx_hidden_runs *ret)
{
	const char *dir = getenv(LX_HIDDEN_PAGES_DIR);
	char path[512];
	struct stat st;
	int fd = -1;

	if (ret->v)
		munmap((void *)(uintptr_t)ret->v, ret->n * sizeof(*ret->v));
	ret->v = NULL;
	ret->n = 0;
	if (dir && name && (size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) < sizeof(path))
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof(*ret->v)) {
		void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

		if (p != MAP_FAILED) {
			ret->v = p;
			ret->n = (size_t)st.st_size / sizeof(*ret->v);
		}
	}
	close(fd);
}

void lx_hidden_runs_wait(void)
{
	static bool done;
	const char *dir = getenv(LX_HIDDEN_PAGES_DIR);
	char path[512];

	if (done || !dir || (size_t)snprintf(path, sizeof(path), "%s/" LX_HIDDEN_LOCK, dir) >= sizeof(path))
		return;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	while (fd >= 0 && flock(fd, LOCK_SH) < 0 && errno == EINTR)
		;
	if (fd >= 0)
		close(fd);
	done = true;
}

void lx_hidden_runs_of(const struct stat *st, struct lx_hidden_runs *ret)
{
	char name[64] = "";

	if (getenv(LX_HIDDEN_PAGES_DIR) && (uint64_t)st->st_size >= LX_SEGMENT_MIN) {
		lx_hidden_runs_wait();
		snprintf(name, sizeof(name), LX_HIDDEN_FILE, (unsigned long long)st->st_dev,
			 (unsigned long long)st->st_ino);
	}
	lx_hidden_runs_load(*name ? name : NULL, ret);
}

bool lx_is_shared_memory(const struct stat *st)
{
	static dev_t dev;
	struct stat own;

	if (dev == 0) {
		int fd = (int)syscall(SYS_memfd_create, "lxmgr", MFD_CLOEXEC);

		if (fd >= 0 && fstat(fd, &own) == 0)
			dev = own.st_dev;
		if (fd >= 0)
			close(fd);
	}
	return st->st_dev == dev && dev != 0;
}
