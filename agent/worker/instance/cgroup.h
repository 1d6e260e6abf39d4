/*
 * The cgroups of an instance: <cgroup root>/<name> in every hierarchy, with the leaves
 * "payload" (the guest) and "monitor" (liblxc's).
 *
 * A v2 hierarchy is always there, with controllers on pure v2 hosts and without on hybrid
 * ones, where the controllers have v1 hierarchies of their own. Processes are in all of
 * them alike, so killing, freezing and waiting go by the v2 one alone.
 */
#ifndef LX_WORKER_CGROUP_H
#define LX_WORKER_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "agent/worker/instance/job.h"
#include "profiles/profiles.h"

#define LX_CGROUP_HIERARCHIES_MAX 16
#define LX_CGROUP_MOUNT_MAX       96

struct lx_cgroups {
	struct {
		char mount[LX_CGROUP_MOUNT_MAX]; /* "/sys/fs/cgroup/memory" */
		const char *controllers;         /* its last part: "cpu,cpuacct"; "" for v2 */
	} at[LX_CGROUP_HIERARCHIES_MAX];
	size_t n;
	size_t v2; /* index */
};

int lx_cgroups_find(struct lx_cgroups *ret, struct lx_err *err);
/* Index of the hierarchy a controller lives in. */
size_t lx_cgroup_hierarchy(const struct lx_cgroups *cg, const char *controller);
/* <mount>/<cgroup root>/<name><leaf>; leaf: "", "/payload" ... */
void lx_cgroup_path(const struct lx_cgroups *cg, size_t at, const struct lx_job *job, const char *leaf,
		    char out[LX_JOB_PATH_MAX]);
/* Which layout each controller has, and what the machine offers. */
int lx_cgroups_facts(const struct lx_cgroups *cg, struct lx_host_facts *ret, struct lx_err *err);

/* Writes a knob of the running payload. Quiet: the negative errno of the write. */
int lx_cgroup_write(const struct lx_cgroups *cg, const struct lx_job *job, const struct lx_knob *knob);

/* Puts a process into the payload's group of each v1 hierarchy. */
int lx_cgroup_adopt(const struct lx_cgroups *cg, const struct lx_job *job, pid_t pid, struct lx_err *err);
/*
 * Processes will be put into groups in a moment. The first one in a while waits for all processors to
 * have gone through the scheduler (cgroup_threadgroup_rwsem, an RCU grace period: 5 to 30 ms), who comes
 * soon after it does not. So `monitor` is put where it is, while there is something else to wait for.
 */
void lx_cgroup_hurry(const struct lx_cgroups *cg, const struct lx_job *job, pid_t monitor);

/*
 * liblxc puts whoever calls its start function into the monitor's groups. These remember where
 * this process was before, and go back there, so that it does not kill itself cleaning up.
 */
int lx_cgroup_remember(struct lx_buf *home, struct lx_err *err);
int lx_cgroup_go_back(const struct lx_cgroups *cg, const struct lx_buf *home, struct lx_err *err);
/* Kills every process of the instance, monitor included, and removes its cgroups everywhere. */
int lx_cgroup_remove(const struct lx_cgroups *cg, const struct lx_job *job, struct lx_err *err);

bool lx_cgroup_frozen(const struct lx_cgroups *cg, const struct lx_job *job);
/* Freezes or thaws the payload and waits until it is so. */
int lx_cgroup_freeze(const struct lx_cgroups *cg, const struct lx_job *job, bool frozen, struct lx_err *err);

#endif
