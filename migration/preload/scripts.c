/*
 * Loaded into CRIU (pages.c): its steps. At each of them it forks, and has the child become its action
 * script, which asks the worker and says no more than the answer (hook_ask.h): two milliseconds, a dozen
 * times while the guest stands still. CRIU asks by itself here, and gets a child that has only
 * the answer to give.
 */
#include <dlfcn.h>
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

/* As libc's. */
__attribute__((visibility("default"))) pid_t fork(void)
{
	const char *action = getenv(ACTION), *init = getenv(INIT);

	if (action) {
		int code = lx_hook_ask(action, init ? init : "0");

		if (code == 0 && strcmp(action, "pre-restore") == 0)
			lx_adopt_find();
		return child_that_says(code);
	}
	pid_t (*real)(void) = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");

	return real();
}
