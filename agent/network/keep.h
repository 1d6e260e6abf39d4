/* state_dir/networks.pb: the last request, kept for the times without a manager. */
#ifndef LX_AGENT_NETWORK_KEEP_H
#define LX_AGENT_NETWORK_KEEP_H

#include "lib/err.h"
#include "lxmgr/v1/agent.pb-c.h"

/* Whole or not at all, also after a crash. */
int lx_keep_write(const char *state_dir, const Lxmgr__V1__ApplyNetworksRequest *req, struct lx_err *err);
/* *ret is NULL when nothing was kept yet. A damaged file is DATA_LOSS. */
int lx_keep_read(const char *state_dir, Lxmgr__V1__ApplyNetworksRequest **ret, struct lx_err *err);

#endif
