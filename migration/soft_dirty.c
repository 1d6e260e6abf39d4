/*
 * The trial: marks appear, go, and come back with a write and nothing else. A kernel without them
 * takes the request and marks nothing. Linux 5.19 loses a write that follows a mprotect(2) there
 * and back (mended in 6.0): that is tried as well.
 */
#include "migration/soft_dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "migration/page_image.h"

/* A page that is written to, one that is closed and opened before, one that is left alone. */
enum { WRITTEN, REOPENED, ALONE, PAGES };

enum outcome { CAN, NO_MEMORY, NO_FRAMES, NO_MARKS, NOT_TAKEN, WRITE_LOST, FALSE_MARK };

static const char *const why[] = {
	[CAN] = NULL,
	[NO_MEMORY] = "soft-dirty marks could not be tried",
	[NO_FRAMES] = "the numbers of page frames are not to be seen",
	[NO_MARKS] = "it has no soft-dirty marks (CONFIG_MEM_SOFT_DIRTY)",
	[NOT_TAKEN] = "it does not take soft-dirty marks away",
	[WRITE_LOST] = "its soft-dirty marks miss writes",
	[FALSE_MARK] = "its soft-dirty marks are on everything",
};

int lx_soft_dirty_clear(int proc)
{
	lx_autoclose int fd = openat(proc, "clear_refs", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	/* "4": only the marks. */
	return write(fd, "4", 1) == 1 ? 0 : -errno;
}

static bool read_entries(int pagemap, const char *memory, uint64_t ret[PAGES])
{
	size_t len = PAGES * sizeof(*ret);

	return pread(pagemap, ret, len, (off_t)((uintptr_t)memory / LX_PAGE_SIZE * sizeof(*ret))) ==
	       (ssize_t)len;
}

static void write_to(volatile char *page)
{
	*page = (char)(*page + 1);
}

static enum outcome try_out(void)
{
	lx_autoclose int proc = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lx_autoclose int pagemap = proc < 0 ? -1 : openat(proc, "pagemap", O_RDONLY | O_CLOEXEC);
	size_t len = (size_t)PAGES * LX_PAGE_SIZE;
	uint64_t e[PAGES];
	char *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || pagemap < 0)
		return NO_MEMORY;
	memset(memory, 1, len);
	if (!read_entries(pagemap, memory, e))
		return NO_MEMORY;
	for (int i = 0; i < PAGES; i++) {
		if (!(e[i] & LX_PAGEMAP_FRAME))
			return NO_FRAMES;
		if (!(e[i] & LX_PAGEMAP_MARKED))
			return NO_MARKS;
	}
	if (lx_soft_dirty_clear(proc) < 0 || !read_entries(pagemap, memory, e))
		return NOT_TAKEN;
	for (int i = 0; i < PAGES; i++)
		if (e[i] & LX_PAGEMAP_MARKED)
			return NOT_TAKEN;
	char *reopened = memory + (size_t)REOPENED * LX_PAGE_SIZE;

	if (mprotect(reopened, LX_PAGE_SIZE, PROT_READ) < 0 ||
	    mprotect(reopened, LX_PAGE_SIZE, PROT_READ | PROT_WRITE) < 0)
		return NO_MEMORY;
	write_to(reopened);
	write_to(memory + (size_t)WRITTEN * LX_PAGE_SIZE);
	if (!read_entries(pagemap, memory, e) || !(e[WRITTEN] & LX_PAGEMAP_MARKED) ||
	    !(e[REOPENED] & LX_PAGEMAP_MARKED))
		return WRITE_LOST;
	return e[ALONE] & LX_PAGEMAP_MARKED ? FALSE_MARK : CAN;
}

const char *lx_soft_dirty_missing(void)
{
	static int known = -1;

	if (known >= 0)
		return why[known];
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		_exit((int)try_out());
	if (child < 0)
		return why[NO_MEMORY];
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return why[NO_MEMORY];
	if (!WIFEXITED(status) || WEXITSTATUS(status) > FALSE_MARK)
		return why[NO_MEMORY];
	known = WEXITSTATUS(status);
	return why[known];
}
