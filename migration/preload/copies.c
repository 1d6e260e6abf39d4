/*
 * Loaded into CRIU (pages.c): its large copies. For each process it copies a list with room for every
 * page that it might have found (criu/mem.c, CRIU 4): 8 MiB for a heap of 2 GiB, of which nothing has been
 * written when the pages were hidden from it. Pages of the source that were never touched are zeros: they
 * are not read, and what they would go to is made a hole.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE (1u << 20)
#define PAGE  4096u

/* Not by memcpy, which is the one below; nor may the compiler make one of it, which it could where it sees
 * both. */
__attribute__((noinline)) static void copy(void *to, const void *from, size_t n)
{
	memmove(to, from, n);
}

/* Of memory in memory file systems; other memory is written to. */
static void clear_all(char *at, size_t n)
{
	char *first = (char *)(((uintptr_t)at + PAGE - 1) / PAGE * PAGE),
	     *end = (char *)((uintptr_t)(at + n) / PAGE * PAGE);

	if (first >= end || madvise(first, (size_t)(end - first), MADV_REMOVE) < 0) {
		memset(at, 0, n);
		return;
	}
	memset(at, 0, (size_t)(first - at));
	memset(end, 0, (size_t)(at + n - end));
}

/* In one private mapping of no file: what is not there is zero. */
static bool is_anonymous(const char *from, size_t n)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512], perms[8];
	unsigned long start, end, inode;
	bool yes = false;

	while (f && !yes && fgets(line, sizeof(line), f))
		/* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
		yes = sscanf(line, "%lx-%lx %7s %*x %*s %lu", &start, &end, perms, &inode) == 4 &&
		      start <= (uintptr_t)from && (uintptr_t)from + n <= end && perms[3] == 'p' && inode == 0;
	if (f)
		fclose(f);
	return yes;
}

/* Bits 62 and 63 of an entry: in swap, in memory (Documentation/admin-guide/mm/pagemap.rst). */
static bool was_touched(uint64_t entry)
{
	return entry >> 62;
}

static void copy_what_is_there(char *to, const char *from, size_t n, int pagemap)
{
	uint64_t entries[512];

	for (size_t at = 0; at < n;) {
		uintptr_t page = ((uintptr_t)from + at) / PAGE;
		ssize_t got = pread(pagemap, entries, sizeof(entries), (off_t)(page * sizeof(*entries)));
		size_t known = got > 0 ? (size_t)got / sizeof(*entries) : 0;

		if (known == 0) {
			copy(to + at, from + at, n - at);
			return;
		}
		for (size_t i = 0; i < known && at < n;) {
			bool there = was_touched(entries[i]);
			size_t j = i + 1;

			while (j < known && was_touched(entries[j]) == there)
				j++;
			size_t end = (page + j) * PAGE - (uintptr_t)from;
			size_t len = (end < n ? end : n) - at;

			if (there)
				copy(to + at, from + at, len);
			else
				clear_all(to + at, len);
			at += len;
			i = j;
		}
	}
}

/* As libc's. */
__attribute__((visibility("default"))) void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	int pagemap =
		n >= LARGE && is_anonymous(from, n) ? open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC) : -1;

	if (pagemap < 0) {
		copy(to, from, n);
		return to;
	}
	copy_what_is_there(to, from, n, pagemap);
	close(pagemap);
	return to;
}
