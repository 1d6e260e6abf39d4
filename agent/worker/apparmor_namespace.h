/*
 * The AppArmor policy namespace of an instance in this node's kernel: there while something of the
 * instance runs, with the profiles that its root has loaded. Its name is made of the instance's, so
 * that whatever was killed half-way, the next who cleans up finds it.
 */
#ifndef LX_WORKER_APPARMOR_NAMESPACE_H
#define LX_WORKER_APPARMOR_NAMESPACE_H

#include <stdbool.h>

#include "lib/err.h"

/* Whether this kernel has them, and lets the root of a user namespace load policy. */
bool lx_apparmor_can_namespace(void);
/* A new one: what was in one of that name is gone. */
int lx_apparmor_namespace_make(const char *name, struct lx_err *err);
/* With all that is in it. One that is not there is no error. */
void lx_apparmor_namespace_remove(const char *name);

#endif
