/*
 * The process is made to enter and leave the call with the tracer looking on (PTRACE_SYSCALL),
 * which sends it no signal that could meet its handlers. Its own registers are put back where
 * the kernel decides whether a call that was interrupted has to be restarted: in the stop that
 * PTRACE_INTERRUPT makes. There the restart then happens as if nothing had come in between.
 */
#include "migration/remote_call.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "migration/proc_text.h"

#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif
#define VDSO_MAX (64u * 1024)
/* To come to a stop; a process in uninterruptible sleep takes as long as it likes. */
#define STOP_MS 500
#define POLL_US 200

#if defined(__x86_64__)

static const unsigned char instruction[] = { 0x0f, 0x05 }; /* syscall */

static void set_call(struct user_regs_struct *regs, unsigned long code, long number,
		     const unsigned long args[6])
{
	regs->rip = code;
	regs->rax = (unsigned long)number;
	regs->orig_rax = (unsigned long)-1; /* not within a call: nothing is restarted */
	regs->rdi = args[0];
	regs->rsi = args[1];
	regs->rdx = args[2];
	regs->r10 = args[3];
	regs->r8 = args[4];
	regs->r9 = args[5];
}

static long result(const struct user_regs_struct *regs)
{
	return (long)regs->rax;
}

bool lx_remote_call_possible(void)
{
	return true;
}

#elif defined(__aarch64__)

static const unsigned char instruction[] = { 0x01, 0x00, 0x00, 0xd4 }; /* svc #0 */

static void set_call(struct user_regs_struct *regs, unsigned long code, long number,
		     const unsigned long args[6])
{
	regs->pc = code;
	regs->regs[8] = (unsigned long)number;
	for (unsigned i = 0; i < 6; i++)
		regs->regs[i] = args[i];
}

static long result(const struct user_regs_struct *regs)
{
	return (long)regs->regs[0];
}

bool lx_remote_call_possible(void)
{
	return true;
}

#else

static const unsigned char instruction[] = { 0 };

static void set_call(struct user_regs_struct *regs, unsigned long code, long number,
		     const unsigned long args[6])
{
	(void)regs, (void)code, (void)number, (void)args;
}

static long result(const struct user_regs_struct *regs)
{
	(void)regs;
	return -ENOSYS;
}

bool lx_remote_call_possible(void)
{
	return false;
}

#endif

/* ------------------------------------------------------------------ where the instruction is */

/* A file may be called so as well, but its path begins with a slash. */
static bool is_vdso(const struct lx_proc_map *map)
{
	return map->path_len == strlen("[vdso]") && memcmp(map->path, "[vdso]", map->path_len) == 0;
}

static int find_code(pid_t pid, unsigned long *ret, struct lx_err *err)
{
	unsigned char code[VDSO_MAX];
	char path[64];
	lx_autobuf struct lx_buf text = { 0 };
	struct lx_proc_map map;
	ssize_t n = -1;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	int r = lx_read_file(path, LX_PROC_MAPS_MAX, &text, err);

	if (r < 0)
		return r;
	const char *at = lx_buf_str(&text);

	while ((at = lx_proc_map_next(at, &map)) && !is_vdso(&map))
		;
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	lx_autoclose int mem = at ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (mem >= 0 && map.end - map.start <= sizeof(code))
		n = pread(mem, code, map.end - map.start, (off_t)map.start);
	for (ssize_t i = 0; i + (ssize_t)sizeof(instruction) <= n; i++)
		if (memcmp(code + i, instruction, sizeof(instruction)) == 0) {
			*ret = map.start + (unsigned long)i;
			return 0;
		}
	return lx_err_set(err, LX_UNIMPLEMENTED, "process %d has no vDSO with a system call in it", (int)pid);
}

/* ------------------------------------------------------------------ stopping */

static int wait_stop(pid_t pid, struct lx_err *err)
{
	uint64_t end = lx_now_monotonic_ns() + STOP_MS * LX_NSEC_PER_MSEC;

	for (;;) {
		int status = 0;
		pid_t got = waitpid(pid, &status, __WALL | WNOHANG);

		if (got == pid && WIFSTOPPED(status))
			return status;
		if (got == pid || (got < 0 && errno != EINTR))
			return lx_err_set(err, LX_NOT_FOUND, "process %d has gone", (int)pid);
		if (lx_now_monotonic_ns() > end) {
			lx_err_set(err, LX_UNAVAILABLE, "process %d does not come to a stop", (int)pid);
			return -EBUSY;
		}
		usleep(POLL_US);
	}
}

/* The stop of PTRACE_INTERRUPT, not one by job control (which has another signal). */
static bool is_interrupt(int status)
{
	return status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGTRAP;
}

static bool is_call(int status)
{
	return WSTOPSIG(status) == (SIGTRAP | 0x80); /* PTRACE_O_TRACESYSGOOD */
}

/* A stop at a signal: that one is for the process, not for us. */
static void give_back(pid_t pid, int status)
{
	int sig = status >> 16 == 0 && !is_call(status) ? WSTOPSIG(status) : 0;

	(void)ptrace(PTRACE_DETACH, pid, NULL, (long)sig);
}

static int save(struct lx_remote *r)
{
	struct iovec v = { .iov_base = &r->regs, .iov_len = sizeof(r->regs) };
	uint64_t all = ~UINT64_C(0);

	return ptrace(PTRACE_GETREGSET, r->pid, NT_PRSTATUS, &v) < 0 ||
			       ptrace(PTRACE_GETSIGMASK, r->pid, sizeof(r->mask), &r->mask) < 0 ||
			       ptrace(PTRACE_SETSIGMASK, r->pid, sizeof(all), &all) < 0
		       ? -errno
		       : 0;
}

static void put_back(const struct lx_remote *r)
{
	struct iovec v = { .iov_base = (void *)(uintptr_t)&r->regs, .iov_len = sizeof(r->regs) };

	(void)ptrace(PTRACE_SETREGSET, r->pid, NT_PRSTATUS, &v);
	(void)ptrace(PTRACE_SETSIGMASK, r->pid, sizeof(r->mask), &r->mask);
}

int lx_remote_begin(pid_t pid, struct lx_remote *ret, struct lx_err *err)
{
	*ret = (struct lx_remote){ 0 };
	int r = find_code(pid, &ret->code, err);

	if (r < 0)
		return r;
	if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_SUSPEND_SECCOMP | PTRACE_O_TRACESYSGOOD) < 0) {
		lx_err_errno(err, errno, "cannot stop process %d", (int)pid);
		return -EBUSY;
	}
	int status = ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0 ? -errno : wait_stop(pid, err);

	if (status < 0) {
		(void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
		return status;
	}
	ret->pid = pid;
	if (is_interrupt(status) && save(ret) == 0)
		return 0;
	give_back(pid, status);
	ret->pid = 0;
	lx_err_set(err, LX_UNAVAILABLE, "process %d is busy with a signal", (int)pid);
	return -EBUSY;
}

void lx_remote_end(struct lx_remote *r)
{
	if (r->pid <= 0)
		return;
	/* Back to a stop where a call that was interrupted is restarted. */
	if (r->called && (ptrace(PTRACE_INTERRUPT, r->pid, NULL, NULL) < 0 ||
			  ptrace(PTRACE_CONT, r->pid, NULL, NULL) < 0 || wait_stop(r->pid, NULL) < 0))
		lx_warn("a process was not stopped again", "pid=%d", (int)r->pid);
	put_back(r);
	(void)ptrace(PTRACE_DETACH, r->pid, NULL, NULL);
	r->pid = 0;
}

/* ------------------------------------------------------------------ the call */

static int to_next_stop(pid_t pid, struct lx_err *err)
{
	if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0)
		return lx_err_errno(err, errno, "cannot let process %d go on", (int)pid);
	int status = wait_stop(pid, err);

	return status < 0 || is_call(status)
		       ? status
		       : lx_err_set(err, LX_UNAVAILABLE, "process %d did not make the call", (int)pid);
}

long lx_remote_call(struct lx_remote *r, long number, const unsigned long args[6], struct lx_err *err)
{
	struct user_regs_struct regs = r->regs;
	struct iovec v = { .iov_base = &regs, .iov_len = sizeof(regs) };

	set_call(&regs, r->code, number, args);
	if (ptrace(PTRACE_SETREGSET, r->pid, NT_PRSTATUS, &v) < 0)
		return lx_err_errno(err, EIO, "cannot set the registers of process %d", (int)r->pid);
	r->called = true;
	for (int stop = 0; stop < 2; stop++) /* on the way in, on the way out */
		if (to_next_stop(r->pid, err) < 0)
			return -EIO;
	if (ptrace(PTRACE_GETREGSET, r->pid, NT_PRSTATUS, &v) < 0)
		return lx_err_errno(err, EIO, "cannot read the registers of process %d", (int)r->pid);
	return result(&regs);
}
