/*
 * The device filter of an instance: a program on its cgroup in the v2 hierarchy, which there is on
 * every machine, with controllers or without. It sits on <cgroup root>/<name>, above the payload:
 * liblxc makes the payload's cgroup at a start and at a restore, and leaves no moment in between,
 * and at a restore it sets no filter at all.
 */
#ifndef LX_WORKER_DEVICE_FILTER_H
#define LX_WORKER_DEVICE_FILTER_H

#include "agent/worker/instance/cgroup.h"
#include "agent/worker/instance/devices.h"

/*
 * Makes the cgroup when it is not there and puts a filter on it that lets through what every guest
 * has (`privileged`: profiles/device_rules.h) and the nodes of these devices, in the place of what is there.
 * Never is less refused in between than by one of the two.
 */
int lx_device_filter_set(const struct lx_job *job, const struct lx_cgroups *cg,
			 const struct lx_devices *devices, bool privileged, struct lx_err *err);

#endif
