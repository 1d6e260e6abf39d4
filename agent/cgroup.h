/* Where this machine keeps the control groups of instances: v1, v2 or some of each. */
#ifndef LX_AGENT_CGROUP_H
#define LX_AGENT_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum lx_controller { LX_CG_MEMORY, LX_CG_CPU, LX_CG_PIDS, LX_CG_FREEZER, LX_CONTROLLERS };

#define LX_CGROUP_MOUNT_MAX 128

struct lx_cgroups {
	char root[64];  /* of instances: <mount>/<root>/<name>/payload */
	char layout[8]; /* "v2", "hybrid", "v1" */
	struct {
		bool v2;
		char mount[LX_CGROUP_MOUNT_MAX]; /* "" when the controller is nowhere */
	} at[LX_CONTROLLERS];
};

/* Looks at what is mounted. 0 or negative errno. */
int lx_cgroups_init(struct lx_cgroups *cg, const char *root);

/* A number out of a file of the instance's payload group; -ENOENT when it does not run. "max" is 0. */
int lx_cgroup_number(const struct lx_cgroups *cg, enum lx_controller c, const char *instance,
		     const char *file, uint64_t *ret);
/* The number behind `key ` in a flat-keyed file ("cpu.stat"). */
int lx_cgroup_keyed(const struct lx_cgroups *cg, enum lx_controller c, const char *instance, const char *file,
		    const char *key, uint64_t *ret);
bool lx_cgroup_is_frozen(const struct lx_cgroups *cg, const char *instance);

#endif
