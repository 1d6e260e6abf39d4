/*
 * Joining a guest's namespaces and becoming its root. In a user namespace that is all; the root of a
 * privileged guest keeps the capabilities that its work takes and no other, for no namespace bounds it.
 */
#ifndef LX_WORKER_GUEST_JOIN_H
#define LX_WORKER_GUEST_JOIN_H

#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

/* For working with files. */
#define LX_GUEST_FILES                                                                                       \
	(1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER | 1U << CAP_FSETID | 1U << CAP_SETFCAP)

/* `namespaces` besides the user namespace: CLONE_NEWNS, CLONE_NEWNET. `keep`: bits of capabilities. */
int lx_guest_join(int init_pidfd, int namespaces, bool privileged, uint32_t keep, struct lx_err *err);
/* The second half, for who is in the namespaces already. */
int lx_guest_become_root(bool privileged, uint32_t keep, struct lx_err *err);

#endif
