/*
 * A system call made by another process: it is stopped, made to execute the call with the code
 * that its vDSO has for it, and goes on as if nothing had been (ptrace(2)).
 *
 * Its seccomp filters do not see the call (PTRACE_O_SUSPEND_SECCOMP, which needs CAP_SYS_ADMIN
 * and a caller that has no filter itself). Nothing is written into its memory.
 */
#ifndef LX_MIGRATION_REMOTE_CALL_H
#define LX_MIGRATION_REMOTE_CALL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "lib/err.h"

/* Whether this is a processor that it is known for. */
bool lx_remote_call_possible(void);

struct lx_remote {
	pid_t pid;          /* 0: let go */
	unsigned long code; /* where its vDSO has the instruction */
	bool called;
	uint64_t mask; /* of signals, as it was */
	struct user_regs_struct regs;
};

/*
 * Stops it; all is as before with lx_remote_end(). -EBUSY: somebody else traces it, it is at a
 * signal or stopped by job control, or it does not come to a stop.
 *
 * A caller that is killed between lx_remote_call() and lx_remote_end() leaves a process with
 * registers that are not its own: keep that short, and in a process that nobody kills
 * (remote_uffd.h).
 */
int lx_remote_begin(pid_t pid, struct lx_remote *ret, struct lx_err *err);
/* The call's own result, a negative errno included. -EIO with `err` set: it could not be made. */
long lx_remote_call(struct lx_remote *r, long number, const unsigned long args[6], struct lx_err *err);
void lx_remote_end(struct lx_remote *r);

#endif
