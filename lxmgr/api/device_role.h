/* Devices that bring something of a node into a guest, and keys that have the node do the like for it, are a
 * privilege of admins: of the cluster, not of a project. */
#ifndef LX_LXMGR_API_DEVICE_ROLE_H
#define LX_LXMGR_API_DEVICE_ROLE_H

#include "lxmgr/manager.h"

/*
 * May the caller set these devices (a map field, checked before)? LX_PERMISSION_DENIED naming
 * device and role. `before` are those that the instance or profile has already: one that stays as
 * it is, as when a whole profile is sent again, is nobody's doing. So an operator may also use
 * profiles into which an admin has put such a device.
 */
int lx_api_check_device_role(const struct lx_manager *m, struct lx_call *call, size_t n, const void *entries,
			     size_t n_before, const void *before, struct lx_err *err);
/* The same of keys (lx_config_key.admin). */
int lx_api_check_config_role(const struct lx_manager *m, struct lx_call *call, size_t n, const void *entries,
			     size_t n_before, const void *before, struct lx_err *err);

#endif
