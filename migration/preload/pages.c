/*
 * The library that is loaded into CRIU before libc (LD_PRELOAD) and spares it work while a guest
 * stands still: walks over cgroups that it has been through (cgroups.c), copies of what was never
 * written (copies.c), dumps of what is known to be empty (conntrack.c), a program at each step
 * (scripts.c), and pages: its scans do not show those that migration/hidden_pages.h speaks of. It keeps CRIU
 * out of what a guest could make too deep for it (policy.c). And it reads
 * of watched files what the kernel says of them when it says all (watches.c), and of terminals what lies in
 * them (terminals.c). All else goes by unchanged.
 *
 * It runs in a program that is not ours, beside a libc that may be a newer one: system calls, and
 * nothing that a libc of Debian 12 does not have. Ways to fail: no memory, no file: nothing is hidden.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migration/hidden_pages.h"
#include "migration/scan_regions.h"

/* Of the process that was looked at last: CRIU dumps one after the other. */
static struct {
	int pid;
	const struct lx_page_run *v;
	size_t n;
} hidden;

static void load(int pid)
{
	const char *dir = getenv(LX_HIDDEN_PAGES_DIR);
	char path[512];
	struct stat st;
	int fd = -1;

	if (hidden.v)
		munmap((void *)(uintptr_t)hidden.v, hidden.n * sizeof(*hidden.v));
	hidden.pid = pid;
	hidden.v = NULL;
	hidden.n = 0;
	if (dir && (size_t)snprintf(path, sizeof(path), "%s/%d", dir, pid) < sizeof(path))
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof(*hidden.v)) {
		void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

		if (p != MAP_FAILED) {
			hidden.v = p;
			hidden.n = (size_t)st.st_size / sizeof(*hidden.v);
		}
	}
	close(fd);
}

/* Whose "/proc/<pid>/pagemap" that is; 0: something else. */
static int whose(int fd)
{
	char name[64], target[128];
	int pid = 0, end = 0;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(name, target, sizeof(target) - 1);

	if (n <= 0)
		return 0;
	target[n] = '\0';
	/* NOLINTNEXTLINE(cert-err34-c): a number of the kernel's */
	return sscanf(target, "/proc/%d/pagemap%n", &pid, &end) == 1 && end == n ? pid : 0;
}

static long hide(struct lx_scan_arg *arg, long n)
{
	struct lx_scan_region *v = (void *)(uintptr_t)arg->vec;
	struct lx_scan_region *out = malloc(arg->vec_len * sizeof(*out));

	if (!out)
		return n;
	size_t k = lx_regions_hide(v, (size_t)n, hidden.v, hidden.n, out, arg->vec_len, &arg->walk_end);

	memcpy(v, out, k * sizeof(*out));
	free(out);
	return (long)k;
}

static long scan(int fd, struct lx_scan_arg *arg)
{
	int pid = whose(fd);

	if (pid != hidden.pid)
		load(pid);
	/* Walking the tables of a large process takes as long as what it is to be spared. */
	if (hidden.n && lx_regions_all_hidden(arg->start, arg->end, hidden.v, hidden.n)) {
		arg->walk_end = arg->end;
		return 0;
	}
	long n = syscall(SYS_ioctl, fd, LX_SCAN, arg);

	return hidden.n && n > 0 ? hide(arg, n) : n;
}

/* As libc's. */
__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;

	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	return (int)(request == LX_SCAN ? scan(fd, arg) : syscall(SYS_ioctl, fd, request, arg));
}
