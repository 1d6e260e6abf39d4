/* state_dir/networks.pb: the last request, kept for the times without a manager. */
#ifndef LX_AGENT_NETWORK_KEEP_H
#define LX_AGENT_NETWORK_KEEP_H

#include <uv.h>

#include "lib/err.h"
#include "lxmgr/v1/agent.pb-c.h"

typedef void (*lx_kept_cb)(const struct lx_err *err, void *arg);
/*
 * Whole or not at all, also after a crash. A thread waits for the disk; `cb` comes later, on the loop, with
 * NULL when it is written. `req` is only read before this returns.
 */
int lx_keep_write(uv_loop_t *loop, const char *state_dir, const Lxmgr__V1__ApplyNetworksRequest *req,
		  lx_kept_cb cb, void *arg, struct lx_err *err);
/* *ret is NULL when nothing was kept yet. A damaged file is DATA_LOSS. */
int lx_keep_read(const char *state_dir, Lxmgr__V1__ApplyNetworksRequest **ret, struct lx_err *err);

#endif
