/*
 * The instance's proxy devices, from the worker's side: lx-proxy (agent/worker/proxy/daemon.h) is started
 * with the instance, told of changes, and ends with it.
 */
#ifndef LX_WORKER_PROXIES_H
#define LX_WORKER_PROXIES_H

#include "agent/worker/instance/cgroup.h"
#include "agent/worker/instance/run.h"
#include "agent/worker/instance/spec.h"

/*
 * Starts it for an instance that is about to start; what listens on the node is open afterwards. *ret_fd
 * is its socket, -1 when the instance has no proxies. `mounts`: the node's mount namespace, where we
 * may have left it.
 */
int lx_proxies_start(const struct lx_job *job, const struct lx_cgroups *cg, const lx_spec *spec, int mounts,
		     int *ret_fd, struct lx_err *err);
/* The guest runs: what listens in there is open afterwards. `fd` as above, and closed. */
int lx_proxies_guest_runs(const struct lx_job *job, int fd, const struct lx_run *run, struct lx_err *err);

/* Makes those of a running instance the ones of `new`. After a failure the caller goes back to `old`. */
int lx_proxies_update(const struct lx_job *job, const struct lx_cgroups *cg, const lx_spec *old,
		      const lx_spec *new, const struct lx_run *run, struct lx_err *err);

/* What a killed one leaves: its socket, and those of its devices that have paths on the node. */
void lx_proxies_forget(const struct lx_job *job);

#endif
