/* Running a program in a running guest. */
#ifndef LX_WORKER_ATTACH_H
#define LX_WORKER_ATTACH_H

#include <sys/types.h>

#include "agent/worker/instance/job.h"

struct lx_program {
	char *const *argv; /* at least the program; ignored for a console */
	size_t argc;
	const char *user; /* see lx_guest_user_find() */
	const char *cwd;  /* "": the user's home */
	/* "NAME=value" texts; later ones win. */
	char **env;
	size_t n_env;
	bool console;  /* log in instead of running argv */
	bool terminal; /* on a pty of the guest's */
	unsigned short rows, cols;
	int stdio[3]; /* without a terminal */
};

/*
 * Starts the program in the guest's namespaces and cgroups, confined like the guest, as
 * leader of a session of its own. *ret_pty is the master of its terminal, or -1. Errors are
 * those of getting ready; a program that is not there runs and exits with 127, like in a shell.
 */
int lx_program_start(const struct lx_job *job, const struct lx_program *program, pid_t *ret_pid, int *ret_pty,
		     struct lx_err *err);
/* Waits for it. */
void lx_program_wait(pid_t pid, Lxmgr__V1__ExecExit *ret);

/* The half that runs in the guest (attach_guest.c): never returns. */
struct lx_attached {
	const struct lx_program *program;
	int channel; /* where the outcome goes */
};

/* What it tells over the channel before the program starts; the pty's master goes along. */
struct lx_attached_outcome {
	int r;
	struct lx_err err;
};

int lx_attached_main(void *attached);

#endif
