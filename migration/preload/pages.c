/*
 * The library that is loaded into CRIU before libc (LD_PRELOAD) and spares it work while a guest
 * stands still: walks over cgroups that it has been through (cgroups.c), copies of what was never
 * written (copies.c), dumps of what is known to be empty (conntrack.c), a program at each step
 * (scripts.c), and pages, those that processes share too (shared.c), of which some are in place before
 * a restore (adopt.c): its scans do not show those that migration/hidden_pages.h speaks of. It lets it have
 * lists and mappings that are larger than the machine (sizes.c), and puts its system calls where they can be
 * put (code.c). It keeps CRIU
 * out of what a guest could make too deep for it (policy.c). And it reads
 * of watched files what the kernel says of them when it says all (watches.c), and of terminals what lies in
 * them (terminals.c). All else goes by unchanged.
 *
 * It runs in a program that is not ours, beside a libc that may be a newer one: system calls, and
 * nothing that a libc of Debian 12 does not have. Ways to fail: no memory, no file: nothing is hidden.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migration/hidden_runs.h"
#include "migration/scan_regions.h"

/* Of the process that was looked at last: CRIU dumps one after the other. */
static struct {
	int pid;
	struct lx_hidden_runs runs;
} hidden;

static void load(int pid)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", pid);
	hidden.pid = pid;
	lx_hidden_runs_load(name, &hidden.runs);
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
	size_t k = lx_regions_hide(v, (size_t)n, hidden.runs.v, hidden.runs.n, out, arg->vec_len,
				   &arg->walk_end);

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
	if (hidden.runs.n && lx_regions_all_hidden(arg->start, arg->end, hidden.runs.v, hidden.runs.n)) {
		arg->walk_end = arg->end;
		return 0;
	}
	long n = syscall(SYS_ioctl, fd, LX_SCAN, arg);

	return hidden.runs.n && n > 0 ? hide(arg, n) : n;
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
