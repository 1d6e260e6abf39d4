/*
 * Loaded into CRIU (pages.c): where it puts the system calls that it has a process make. It takes the first
 * memory that can be executed (criu/parasite-syscall.c, CRIU 4), and changes it for a moment as a debugger
 * does. Of memory that is shared and cannot be written, nobody can be given a copy, and it is refused
 * (ptrace(2), EIO): PHP has its compiled code in such, below all else. So there another place is taken, in
 * memory that is private, and CRIU, which names the first one, means that.
 *
 * All this is while the process stands still, so that what is looked up once stays true.
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>

#define AREA        4096u /* what CRIU uses of it is less */
#define PROCESS_MAX 1024  /* with such memory, in one dump; others fail as before */

#if defined(__x86_64__)
#define CODE_AT rip
#elif defined(__aarch64__)
#define CODE_AT pc
#endif

static struct redirect {
	pid_t pid;
	uintptr_t from, to;
} redirects[PROCESS_MAX];
static unsigned n_redirects;

/* Who was looked at last, and needs none. */
static struct {
	pid_t pid;
	uintptr_t page;
} plain;

struct area {
	uintptr_t start, end;
	char perms[8];
};

static bool next_area(FILE *maps, struct area *a)
{
	char line[512];
	unsigned long start, end;

	while (fgets(line, sizeof(line), maps)) {
		/* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
		if (sscanf(line, "%lx-%lx %7s", &start, &end, a->perms) != 3)
			continue; /* the rest of a long name */
		a->start = start;
		a->end = end;
		return true;
	}
	return false;
}

static bool cannot_be_changed(const struct area *a)
{
	return a->perms[3] == 's' && a->perms[1] != 'w';
}

/* With 'r': not the page of the kernel's that has no memory behind it. */
static bool is_fit(const struct area *a)
{
	return a->perms[0] == 'r' && a->perms[2] == 'x' && a->perms[3] == 'p' && a->end - a->start >= AREA;
}

/* False: `at` can stay, or there is no other place. */
static bool find_other(pid_t pid, uintptr_t at, struct redirect *ret)
{
	char path[64];
	struct area a;
	uintptr_t from = 0, to = 0;
	bool wanted = false;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");

	while (maps && next_area(maps, &a)) {
		if (a.start <= at && at < a.end) {
			wanted = cannot_be_changed(&a) && at - a.start < AREA;
			if (!wanted)
				break;
			from = a.start;
		}
		if (to == 0 && is_fit(&a))
			to = a.start;
		if (wanted && to)
			break;
	}
	if (maps)
		fclose(maps);
	*ret = (struct redirect){ pid, from, to };
	return wanted && to;
}

static struct redirect *known(pid_t pid)
{
	for (unsigned i = 0; i < n_redirects; i++)
		if (redirects[i].pid == pid)
			return &redirects[i];
	return NULL;
}

static uintptr_t translate(pid_t pid, uintptr_t at)
{
	const struct redirect *r = known(pid);
	int error = errno;

	if (r)
		return at >= r->from && at - r->from < AREA ? r->to + (at - r->from) : at;
	if (plain.pid == pid && plain.page == at / AREA)
		return at;
	bool needed = n_redirects < PROCESS_MAX && find_other(pid, at, &redirects[n_redirects]);

	errno = error;
	if (!needed) {
		plain.pid = pid;
		plain.page = at / AREA;
		return at;
	}
	r = &redirects[n_redirects++];
	return r->to + (at - r->from);
}

#ifdef CODE_AT
/* To begin there; CRIU gives it its own registers back by the same call, and they lead elsewhere. */
static long set_registers(pid_t pid, void *kind, const struct iovec *given,
			  long (*real)(int, pid_t, void *, void *))
{
	const struct redirect *r = known(pid);
	struct user_regs_struct *regs = given->iov_base;

	if (!r || given->iov_len != sizeof(*regs) || regs->CODE_AT != r->from)
		return real(PTRACE_SETREGSET, pid, kind, (void *)(uintptr_t)given);
	struct user_regs_struct other = *regs;
	struct iovec iov = { .iov_base = &other, .iov_len = sizeof(other) };

	other.CODE_AT = r->to;
	return real(PTRACE_SETREGSET, pid, kind, &iov);
}
#endif

/* As libc's. */
__attribute__((visibility("default"))) long ptrace(enum __ptrace_request request, ...)
{
	static long (*real)(int request, pid_t pid, void *addr, void *data);
	va_list ap;

	va_start(ap, request);
	pid_t pid = va_arg(ap, pid_t);
	void *addr = va_arg(ap, void *), *data = va_arg(ap, void *);

	va_end(ap);
	if (!real)
		real = (long (*)(int, pid_t, void *, void *))dlsym(RTLD_NEXT, "ptrace");
#ifdef CODE_AT
	if (request == PTRACE_PEEKDATA || request == PTRACE_POKEDATA)
		addr = (void *)translate(pid, (uintptr_t)addr);
	else if (request == PTRACE_SETREGSET && (uintptr_t)addr == NT_PRSTATUS)
		return set_registers(pid, addr, data, real);
#endif
	return real(request, pid, addr, data);
}
