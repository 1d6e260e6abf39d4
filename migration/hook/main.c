/*
 * lx-criu-hook: CRIU's action script. At each step it asks the worker that drives CRIU whether
 * to go on; the worker does what belongs to the step before it answers.
 *
 * Static, with nothing but libc: while the guest stands still it is started a dozen times.
 */
#include <stdio.h>
#include <stdlib.h>

#include "migration/hook_ask.h"

int main(void)
{
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION"), *pid = getenv("CRTOOLS_INIT_PID");

	if (action)
		return lx_hook_ask(action, pid ? pid : "0");
	fprintf(stderr, "lx-criu-hook: this program is run by CRIU\n");
	return LX_HOOK_REFUSED;
}
