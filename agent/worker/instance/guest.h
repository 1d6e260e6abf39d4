/*
 * Working in a guest's file system as the guest's own root: whatever symbolic links, mounts
 * or devices the guest prepares, they can lead nowhere its root could not go by itself.
 */
#ifndef LX_WORKER_GUEST_H
#define LX_WORKER_GUEST_H

#include <stdint.h>

#include "agent/worker/instance/spec.h"

/* A user namespace that maps 0..size-1 to base..; a descriptor. */
int lx_userns_open(uint32_t base, uint32_t size, struct lx_err *err);

/* That of an instance; -1 in *ret_fd for a privileged one, which has none. */
int lx_spec_userns(const lx_spec *spec, int *ret_fd, struct lx_err *err);

/*
 * Makes this process the root of the instance's guest, in its mount and user namespaces when
 * it runs, else in a namespace of our own with its file system mounted. There is no way back.
 * Of a privileged guest it is a root that can do no more than work with files.
 */
int lx_guest_enter(const struct lx_job *job, struct lx_err *err);

/*
 * Runs `fn` in a child that is root of the (stopped) guest whose file system `root_fd` is;
 * `userns_fd` as from lx_spec_userns().
 * The child works in our memory, while this process waits: descriptors, directory and ids are its own.
 */
int lx_guest_run(int root_fd, int userns_fd, int (*fn)(void *arg, struct lx_err *err), void *arg,
		 struct lx_err *err);

#endif
