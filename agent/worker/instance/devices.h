/*
 * What comes into a guest from outside: disks of the node, memory, device nodes. Everything is made
 * in the worker's own mount namespace, below <instance>/devices, and bound into the guest by
 * liblxc; the monitor keeps it alive, so it is gone when the instance is, whatever ended it.
 */
#ifndef LX_WORKER_DEVICES_H
#define LX_WORKER_DEVICES_H

#include "agent/worker/instance/spec.h"
#include "profiles/device_rules.h"
#include "profiles/host_device.h"
#include "profiles/lxcfs.h"
#include "profiles/profiles.h"

/* {0} has none. */
struct lx_devices {
	struct lx_lxc_mount mounts[LX_CONFIG_MAX_DEVICES]; /* what liblxc has to mount */
	size_t n_mounts;
	struct lx_device_rule rules[LX_CONFIG_MAX_DEVICES]; /* what the device filter has to let through */
	size_t n_rules;
	lx_lxcfs_set lxcfs; /* files of the node's lxcfs, which liblxc has to bind */

	/* Private: sources and options of the mounts. Paths stay the specification's. */
	char *texts[LX_CONFIG_MAX_DEVICES];
	size_t n_texts;
};

/*
 * For a start, after the root file system is mounted (root_fd) in a mount namespace of our own.
 * Refuses what is not there, does not fit or would be unsafe before anything is changed in the
 * guest; then makes the places in it. Release `ret` in any case.
 */
int lx_devices_prepare(const struct lx_job *job, const lx_spec *spec, int root_fd, struct lx_devices *ret,
		       struct lx_err *err);
/* For a restore, to which nothing of a node comes along: memory alone. */
int lx_devices_of_restore(const lx_spec *spec, struct lx_devices *ret, struct lx_err *err);
void lx_devices_release(struct lx_devices *d);

/* The files of lxcfs that it gets here (lxcfs.c). Refuses where it must have them and there are none. */
int lx_devices_lxcfs(const struct lx_job *job, const lx_spec *spec, lx_lxcfs_set *ret, struct lx_err *err);

/* Its source, O_PATH. -ENOENT without a message when an optional one is missing. */
int lx_device_source_open(const char *name, const struct lx_host_device *d, struct lx_err *err);
/*
 * A directory or file of the node, ready to be moved to a place: with the guest's ids laid over
 * it, closed for device nodes and set-uid programs, and cut off from later mounts on the node. A
 * descriptor, and whether it is a file; -ENOENT without a message when an optional one is missing.
 */
int lx_device_disk_open(const struct lx_job *job, const char *name, const struct lx_host_device *d,
			int userns_fd, bool *ret_file, struct lx_err *err);

/*
 * Looks whether each mount can have its place in the guest: no symbolic link on the way, and what is
 * there of the right kind. With `make` what is missing is made, by the guest's own root.
 */
int lx_mount_points(const struct lx_devices *d, int root_fd, int userns_fd, bool make, struct lx_err *err);

#endif
