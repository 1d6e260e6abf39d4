/*
 * The root file system: the image below, the instance's own changes on top.
 *
 * It is mounted in a mount namespace of the worker, which its fork, liblxc's monitor, keeps
 * alive. So the mount ends with the container whatever happens to the worker or the agent;
 * the node's own list of mounts stays short, and starting one container does not copy the
 * mounts of all others. Nothing needs to be unmounted.
 */
#ifndef LX_WORKER_ROOTFS_H
#define LX_WORKER_ROOTFS_H

#include "agent/worker/instance/job.h"
#include "agent/worker/instance/spec.h"

/* Leaves the node's mount namespace. Once, before anything is mounted. */
int lx_mounts_private(struct lx_err *err);

/* NOT_FOUND unless the image is complete on this node. */
int lx_image_check(const struct lx_job *job, const char *fingerprint, struct lx_err *err);
void lx_image_path(const struct lx_job *job, const char *fingerprint, char out[LX_JOB_PATH_MAX]);

/*
 * Mounts it on <instance>/rootfs and gives a descriptor of its root. `userns_fd`: as from
 * lx_spec_userns(), -1 for a privileged instance.
 */
int lx_rootfs_mount(const struct lx_job *job, const lx_spec *spec, int userns_fd, int *ret_root_fd,
		    struct lx_err *err);

/* Path of the drop-in layer for systemd guests, made when this is its first use. */
int lx_guest_layer_path(const struct lx_job *job, char out[LX_JOB_PATH_MAX], struct lx_err *err);

/* Opens what `path` means inside a tree, however its links are laid; O_PATH. Negative errno. */
int lx_open_in_root(int root_fd, const char *path);
/* Is there a systemd in that tree? */
bool lx_tree_has_systemd(int root_fd);

#endif
