/* What limits.read, limits.write and limits.max of a root disk mean to the kernel. Pure. */
#ifndef LX_PROFILES_DISK_LIMITS_H
#define LX_PROFILES_DISK_LIMITS_H

#include "profiles/profiles.h"

/* At most that many knobs: on v1 a file for each direction and unit. */
#define LX_DISK_KNOBS_MAX 4

/*
 * Like lx_limits_plan(), for the options of the root disk. `disk` is "MAJOR:MINOR" of the disk its
 * file system is on, NULL when there is no single one: then rates are refused, and there is
 * nothing to lift. Returns the number of knobs.
 */
int lx_disk_limits_plan(const struct lx_map *options, enum lx_cgroup_layout layout, const char *disk,
			struct lx_knob knobs[LX_DISK_KNOBS_MAX], struct lx_err *err);

#endif
