/*
 * System calls that stop (profiles/intercept.h), from the worker's side: lx-intercept
 * (agent/worker/intercept/daemon.h) is started with the instance and told of its monitor.
 */
#ifndef LX_WORKER_INTERCEPTS_H
#define LX_WORKER_INTERCEPTS_H

#include "agent/worker/instance/cgroup.h"
#include "agent/worker/instance/run.h"
#include "agent/worker/instance/spec.h"

/* Starts it for an instance that is about to start. *ret_fd: its socket, -1 when nothing stops. */
int lx_intercepts_start(const struct lx_job *job, const struct lx_cgroups *cg, const lx_spec *spec,
			int mounts, int *ret_fd, struct lx_err *err);
/* The guest runs. `fd` as above, and closed. */
int lx_intercepts_guest_runs(const struct lx_job *job, int fd, const struct lx_run *run, struct lx_err *err);
/* What it leaves. */
void lx_intercepts_forget(const struct lx_job *job);

/* Calls of the instance that runs that stop, by their index in lx_intercepted_calls; 0: none. */
unsigned lx_intercepts_running(const struct lx_job *job);

/* A listener of what has entered the guest is served as well. It stays the caller's. */
int lx_intercepts_serve(const struct lx_job *job, int listener, struct lx_err *err);

/*
 * intercept_attach.c: a process is about to enter the guest. Where its calls stop, it loads a filter for
 * that in there, and *ret_fd is where the filter's listener comes out; -1: nothing to do.
 */
int lx_intercepts_enter(const struct lx_job *job, int *ret_fd, struct lx_err *err);
/* It has entered: lx-intercept gets the listener. Closes `fd`. */
int lx_intercepts_entered(const struct lx_job *job, int fd, struct lx_err *err);

#endif
