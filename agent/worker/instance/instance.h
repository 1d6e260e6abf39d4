/* Steps that several verbs share. */
#ifndef LX_WORKER_INSTANCE_H
#define LX_WORKER_INSTANCE_H

#include "agent/worker/instance/cgroup.h"
#include "agent/worker/instance/devices.h"
#include "agent/worker/instance/job.h"
#include "agent/worker/instance/spec.h"
#include "profiles/profiles.h"

/*
 * Makes what is missing of the instance's directory, mounts its root file system in a mount
 * namespace of our own, puts the guest's own files there when it is new, and stores the
 * specification: the last step, after which the instance exists.
 */
int lx_instance_prepare(const struct lx_job *job, const lx_spec *spec, int *ret_root_fd, struct lx_err *err);

/* Its directories, empty, for an instance that does not exist yet; counted and bounded already. */
int lx_instance_make_dirs(const struct lx_job *job, const lx_spec *spec, struct lx_err *err);
/* Writes the limits of `spec` into the cgroups of its running payload. */
int lx_instance_limits_apply(const struct lx_job *job, const struct lx_cgroups *cg, const lx_spec *spec,
			     struct lx_err *err);

/* Host name, resolver and network configuration for a new guest. */
int lx_guest_files_write(const lx_spec *spec, int root_fd, int userns_fd, struct lx_err *err);

/*
 * Leaves nothing of a run: kills all processes, removes cgroups, network cards and the
 * record. The mounts went with the processes. A start that goes on though its worker died is
 * waited for; lx_instance_wipe() is for callers that know of none.
 */
int lx_instance_wipe(const struct lx_job *job, const struct lx_cgroups *cg, struct lx_err *err);
int lx_instance_clean(const struct lx_job *job, const struct lx_cgroups *cg, struct lx_err *err);

/* A path of the guest's: where one without systemd keeps what init and its scripts say. */
#define LX_CONSOLE_LOG "/var/log/console.log"

#define LX_GUEST_INIT "/sbin/init"

struct lx_guest_init {
	bool systemd;
	bool shell; /* there is a /bin/sh */
	bool run;   /* /run is a directory, and no link to one */
};

/* Writes liblxc's configuration and the seccomp policy for a start, and says what init the guest has. */
int lx_instance_configure(const struct lx_job *job, const lx_spec *spec, const struct lx_cgroups *cg,
			  const struct lx_devices *devices, int root_fd, struct lx_guest_init *ret_init,
			  struct lx_err *err);

/* A card of the specification in the words of profiles/; pointers stay the specification's. */
struct lx_lxc_nic lx_spec_nic(const Lxmgr__V1__Nic *nic);

/* What liblxc's log says of why a start failed, in words a person can act on. Returns a negative errno. */
int lx_lxc_log_explain(const char *name, const char *log, struct lx_err *err);

/*
 * compat.c: security.syscalls.deny_compat. Refuses this process, and all that come from it, the
 * system calls of other kinds than the machine's own; for good.
 */
int lx_compat_deny(const lx_spec *spec, struct lx_err *err);
/* seccomp_load.c: security.syscalls.log, for the filters that are loaded from now on. */
int lx_seccomp_log(const lx_spec *spec, struct lx_err *err);
/* `load` runs before each filter of liblxc's, in whatever process; a negative errno fails it. */
void lx_seccomp_before(int (*load)(void));
/* libseccomp's own seccomp_load(), without any of this. */
int lx_seccomp_load(void *filter);

#endif
