/*
 * Loaded into CRIU (pages.c): what is larger than the machine. A program may reserve terabytes of addresses,
 * as MariaDB does for its buffer pool, by a mapping that cannot be read or written: the kernel then asks for
 * no memory to be there (Documentation/mm/overcommit-accounting.rst). For CRIU (4, criu/page-pipe.c,
 * criu/mem.c) it does: at a dump the list is made with room for every page that there could be, at a restore
 * all is mapped so that it can be written first. Of neither is more than a little ever touched. So both get
 * addresses without the memory behind them.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migration/preload/adopt.h"

#define LARGE (1ul << 30)
/* At a time. More are left to libc. */
#define LARGE_MAX 8

/* libc's own names, for those who stand in its way (malloc(3) of glibc: "Replacing malloc"). */
void *__libc_malloc(size_t n);            /* NOLINT(bugprone-reserved-identifier) */
void __libc_free(void *at);               /* NOLINT(bugprone-reserved-identifier) */
void *__libc_realloc(void *at, size_t n); /* NOLINT(bugprone-reserved-identifier) */

static struct {
	void *at;
	size_t n;
} large[LARGE_MAX];

static void *allocate(size_t n)
{
	for (size_t i = 0; i < LARGE_MAX; i++) {
		if (large[i].at)
			continue;
		void *at = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				-1, 0);

		if (at == MAP_FAILED)
			return NULL;
		large[i].at = at;
		large[i].n = n;
		return at;
	}
	return NULL;
}

/* As libc's. */
__attribute__((visibility("default"))) void *malloc(size_t n)
{
	void *at = n >= LARGE ? allocate(n) : NULL;

	return at ? at : __libc_malloc(n);
}

__attribute__((visibility("default"))) void free(void *at)
{
	for (size_t i = 0; at && i < LARGE_MAX; i++) {
		if (large[i].at != at)
			continue;
		munmap(at, large[i].n);
		large[i].at = NULL;
		return;
	}
	__libc_free(at);
}

__attribute__((visibility("default"))) void *realloc(void *at, size_t n)
{
	for (size_t i = 0; at && i < LARGE_MAX; i++) {
		if (large[i].at != at)
			continue;
		void *to = mremap(at, large[i].n, n, MREMAP_MAYMOVE);

		if (to == MAP_FAILED)
			return NULL;
		large[i].at = to;
		large[i].n = n;
		return to;
	}
	return __libc_realloc(at, n);
}

static int is_private_memory(int flags)
{
	return (flags & MAP_PRIVATE) && (flags & MAP_ANONYMOUS);
}

__attribute__((visibility("default"))) void *mmap64(void *at, size_t len, int prot, int flags, int fd,
						    off64_t offset)
{
	void *p = (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);

	if (p == MAP_FAILED && errno == ENOMEM && len >= LARGE && is_private_memory(flags))
		p = (void *)syscall(SYS_mmap, at, len, prot, flags | MAP_NORESERVE, fd, offset);
	lx_adopt_mapped(fd, p, len, flags, offset);
	return p;
}
