/* The host ends of the containers' network cards. */
#ifndef LX_WORKER_VETH_H
#define LX_WORKER_VETH_H

#include "lib/err.h"

/*
 * Removes the interface `name`, which takes its other end along. One that does not exist is
 * success; one that is no veth is left alone: -EEXIST.
 */
int lx_veth_delete(const char *name, struct lx_err *err);

#endif
