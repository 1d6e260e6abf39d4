/*
 * A program that is started with an instance and lives beside it: in a cgroup below the instance's,
 * outside the payload's, so that what ends the instance ends it, and the agent's end does not.
 */
#ifndef LX_WORKER_COMPANION_H
#define LX_WORKER_COMPANION_H

#include "agent/worker/instance/cgroup.h"

struct lx_companion {
	const char *program; /* in the directory of programs: "lx-proxy" */
	const char *cgroup;  /* below the instance's: "/proxy" */
	char *const *argv;
};

/*
 * *ret_fd is our end of a blocking socket of whole messages, whose other end it has as LX_WORKER_FD. It
 * is in the mount namespace `mounts` (-1: in ours, which would keep the guest's file system mounted).
 * -ENOENT with an error when the program is not there.
 */
int lx_companion_start(const struct lx_job *job, const struct lx_cgroups *cg, const struct lx_companion *c,
		       int mounts, int *ret_fd, struct lx_err *err);

#endif
