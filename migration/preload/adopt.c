/*
 * Loaded into CRIU (pages.c), of a restore: memory that processes share and that is in place already
 * (migration/shared_copies.h). For each segment CRIU makes a memfd, maps it, opens the list of its pages,
 * which is named by the segment, and reads them, those that were copied ahead out of an image that only they
 * are in (criu/memfd.c, criu/shmem.c, CRIU 4.2). When it opens the list, the memfd that it made becomes
 * the one that has the pages, under the same descriptor and at the same address; and to read from that image
 * is then nothing to do.
 *
 * The processes that restore cannot reach the worker's descriptors: they are the guest's. CRIU has a place
 * for descriptors that its processes will want (criu/fdstore.c), and exports it for its plugins.
 */
#include "migration/preload/adopt.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migration/hidden_runs.h"
#include "migration/shared_copies.h"

#define LIST  "pagemap-shmem-%llu.img%n"
#define PAGES "pages-%u.img"

static struct {
	uint64_t shmid;
	uint32_t pages_id;
	int id; /* in CRIU's store */
} copies[LX_SHARED_COPIES_MAX];
static size_t n_copies;

/* What this process has made last. */
static struct {
	int fd; /* -1: nothing */
	void *at;
	size_t len;
} made = { .fd = -1 };

/* Pages that need not be read. */
static struct {
	uint32_t pages_id; /* 0: none */
	int fd;            /* -1: not open yet */
	ino_t ino;
} in_place = { .fd = -1 };

/* ------------------------------------------------------------------ putting them by */

static FILE *open_list(void)
{
	const char *hook = getenv("LXMGR_HOOK"), *slash = hook ? strrchr(hook, '/') : NULL;
	char path[512];

	if (!slash || (size_t)snprintf(path, sizeof(path), "%.*s/" LX_SHARED_COPIES, (int)(slash - hook),
				       hook) >= sizeof(path))
		return NULL;
	return fopen(path, "re");
}

/*
 * The descriptor that memfd_create(2) gave: what is opened again counts as being written to, and no such file
 * can be run.
 */
static int get_from(const struct lx_shared_copy *copy)
{
	int process = (int)syscall(SYS_pidfd_open, copy->pid, 0);
	int fd = process >= 0 ? (int)syscall(SYS_pidfd_getfd, process, copy->fd, 0) : -1;

	if (process >= 0)
		close(process);
	return fd;
}

static void put_by(const struct lx_shared_copy *copy, int (*store)(int fd))
{
	struct stat st;
	int fd = get_from(copy);
	int id = fd >= 0 && fstat(fd, &st) == 0 && lx_is_shared_memory(&st) ? store(fd) : -1;

	if (id >= 0) {
		copies[n_copies].shmid = copy->shmid;
		copies[n_copies].pages_id = copy->pages_id;
		copies[n_copies++].id = id;
	}
	if (fd >= 0)
		close(fd);
}

void lx_adopt_find(void)
{
	int (*store)(int fd) = (int (*)(int))dlsym(RTLD_DEFAULT, "fdstore_add");
	FILE *f = store ? open_list() : NULL;
	struct lx_shared_copy copy;

	while (f && n_copies < LX_SHARED_COPIES_MAX && fread(&copy, sizeof(copy), 1, f) == 1)
		put_by(&copy, store);
	if (f)
		fclose(f);
}

/* ------------------------------------------------------------------ giving one */

static bool map_there(int fd)
{
	return mmap(made.at, made.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == made.at;
}

/*
 * In place of what was made, which is as long as it should be: with the same seals, and where that is mapped.
 * Never in one place alone: what is read would be lost.
 */
static bool take_place(int fd)
{
	struct stat st;

	if (fcntl(fd, F_GET_SEALS) != fcntl(made.fd, F_GET_SEALS) || fstat(made.fd, &st) < 0 ||
	    !lx_is_shared_memory(&st) || ftruncate(fd, st.st_size) < 0 || !map_there(fd))
		return false;
	if (dup3(fd, made.fd, 0) == made.fd)
		return true;
	if (!map_there(made.fd))
		abort();
	return false;
}

static void adopt(uint64_t shmid)
{
	int (*get)(int id) = (int (*)(int))dlsym(RTLD_DEFAULT, "fdstore_get");
	size_t i = 0;

	while (i < n_copies && copies[i].shmid != shmid)
		i++;
	int fd = get && i < n_copies ? get(copies[i].id) : -1;

	if (fd >= 0 && take_place(fd)) {
		in_place.pages_id = copies[i].pages_id;
		in_place.fd = -1;
	}
	if (fd >= 0)
		close(fd);
}

void lx_adopt_opened(int fd, const char *name)
{
	char pages[32];
	unsigned long long shmid;
	struct stat st;
	int end = 0;

	if (n_copies == 0)
		return;
	/* The second such list is that of what was copied ahead. */
	/* NOLINTNEXTLINE(cert-err34-c): a number that does not fit is in no list of copies */
	if (made.at && sscanf(name, LIST, &shmid, &end) == 1 && name[end] == '\0') {
		adopt(shmid);
		made.fd = -1;
		made.at = NULL;
	}
	snprintf(pages, sizeof(pages), PAGES, in_place.pages_id);
	if (in_place.pages_id && strcmp(name, pages) == 0 && fstat(fd, &st) == 0) {
		in_place.fd = fd;
		in_place.ino = st.st_ino;
	}
}

void lx_adopt_mapped(int fd, void *at, size_t len, int flags, off64_t offset)
{
	if (fd >= 0 && fd == made.fd && at != MAP_FAILED && (flags & MAP_SHARED) && offset == 0) {
		made.at = at;
		made.len = len;
	}
}

/* ------------------------------------------------------------------ as libc's */

__attribute__((visibility("default"))) int memfd_create(const char *name, unsigned int flags)
{
	made.fd = (int)syscall(SYS_memfd_create, name, flags);
	made.at = NULL;
	return made.fd;
}

static bool need_not_be_read(int fd)
{
	struct stat st;

	return in_place.pages_id && fd == in_place.fd && fstat(fd, &st) == 0 && st.st_ino == in_place.ino;
}

__attribute__((visibility("default"))) ssize_t pread64(int fd, void *buf, size_t n, off64_t offset)
{
	return need_not_be_read(fd) ? (ssize_t)n : syscall(SYS_pread64, fd, buf, n, offset);
}
