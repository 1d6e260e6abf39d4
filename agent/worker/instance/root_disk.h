/* The root disk's device: what of its options the worker carries out. */
#ifndef LX_WORKER_ROOT_DISK_H
#define LX_WORKER_ROOT_DISK_H

#include "agent/worker/instance/cgroup.h"
#include "agent/worker/instance/spec.h"
#include "profiles/disk_limits.h"

/* The knobs of its rates, to be written after those of lx_limits_plan(). Returns their number. */
int lx_root_disk_knobs(const struct lx_job *job, const struct lx_host_facts *facts, const lx_spec *spec,
		       struct lx_knob knobs[LX_DISK_KNOBS_MAX], struct lx_err *err);

#endif
