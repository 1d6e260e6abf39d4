/* One file a kind of call. In a child that has a deadline; `out` is zero: the call goes on to the kernel. */
#ifndef LX_INTERCEPT_CALLS_H
#define LX_INTERCEPT_CALLS_H

#include "agent/worker/intercept/caller.h"
#include "agent/worker/intercept/daemon.h"

/* What a call is made of; `args` as they were when it stopped. */
struct lx_call {
	const char *name;
	const struct lx_interceptd *d;
	const struct seccomp_notif *n;
	struct lx_caller caller;
	pid_t init; /* of the guest */
};

void lx_call_mknod(const struct lx_call *call, struct lx_outcome *out);
void lx_call_mount(const struct lx_call *call, struct lx_outcome *out);
void lx_call_setxattr(const struct lx_call *call, struct lx_outcome *out);
void lx_call_sysinfo(const struct lx_call *call, struct lx_outcome *out);

/*
 * mount_make.c: mounts a block device at `target` (O_PATH, in the caller's mount namespace), as the caller
 * would if it could. `shown` is what tables of mounts call it. 0, or a negative errno: -EREMOTEIO with us,
 * -EXDEV where the kernel shows no file system of that type with a guest's ids, -EACCES of the device
 * filter as -ENODEV.
 */
struct lx_mount_plan;
int lx_mount_make(const struct lx_caller *c, const char *run_dir, const char *type, const char *shown,
		  dev_t dev, const struct lx_mount_plan *plan, int target);

/* It is made, or has failed as its caller is to hear. -EREMOTEIO: with us; to the kernel with it. */
void lx_call_done(struct lx_outcome *out, int error);
/* The kernel will refuse it, though its caller has the guest's right to it. */
void lx_call_refused(const struct lx_call *call, struct lx_outcome *out, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
