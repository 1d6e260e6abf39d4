/*
 * Loaded into CRIU (pages.c): its steps. At each of them it forks, and has the child become its action
 * script, which asks the worker and says no more than the answer (hook_ask.h): two milliseconds, a dozen
 * times while the guest stands still. CRIU asks by itself here, and gets a child that has only
 * the answer to give.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "migration/hook_ask.h"
#include "migration/preload/adopt.h"

#define STACK 16384

/* CRIU's; set as long as it is at a step (criu/action-scripts.c, CRIU 4). */
#define ACTION "CRTOOLS_SCRIPT_ACTION"
#define INIT   "CRTOOLS_INIT_PID"

static int answer(void *code)
{
	_exit((int)(intptr_t)code);
}

/* In CRIU's own memory, with a stack of its own: nothing is copied, and CRIU waits until it has ended. */
static pid_t child_that_says(int code)
{
	static char stack[STACK] __attribute__((aligned(16)));

	return clone(answer, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)(intptr_t)code);
}

/*
 * At a restore all others are children of the first process, which is there by now and has what CRIU had
 * (oom_score_adj): only what is another than the usual is restored (criu/cr-restore.c, CRIU 4). From here on
 * the kernel is not to take CRIU for want of memory, as far as that is allowed.
 */
static void spare_me(void)
{
	static const char never[] = "-1000";
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, never, sizeof(never) - 1) < 0)
		errno = 0; /* not allowed: as it is */
	close(fd);
}

/* As libc's. */
__attribute__((visibility("default"))) pid_t fork(void)
{
	const char *action = getenv(ACTION), *init = getenv(INIT);

	if (action) {
		int code = lx_hook_ask(action, init ? init : "0");

		if (code == 0 && strcmp(action, "pre-restore") == 0)
			lx_adopt_find();
		if (code == 0 && strcmp(action, "setup-namespaces") == 0)
			spare_me();
		return child_that_says(code);
	}
	pid_t (*real)(void) = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");

	return real();
}
