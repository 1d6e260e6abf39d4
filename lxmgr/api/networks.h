/* What a network may be (network_check.c). */
#ifndef LX_LXMGR_API_NETWORKS_H
#define LX_LXMGR_API_NETWORKS_H

#include "lxmgr/manager.h"

/* Bridges of networks that are not the default project's: behind it comes a number. */
#define LX_BRIDGE_PREFIX "lxn"

/*
 * Name, description, keys and values; addresses that a bridge can have; no subnet that
 * another network has a part of. LX_INVALID_ARGUMENT names the key.
 */
int lx_api_check_network_name(const char *name, struct lx_err *err);
int lx_api_check_network(struct lx_manager *m, const Lxmgr__V1__Network *n, struct lx_err *err);

#endif
