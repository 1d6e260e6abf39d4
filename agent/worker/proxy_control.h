/* The socket by which workers talk to an instance's running proxies: <run_dir>/<instance>.proxy. */
#ifndef LX_WORKER_PROXY_CONTROL_H
#define LX_WORKER_PROXY_CONTROL_H

#include "lib/err.h"

/* Non-blocking, in the place of one that a killed process has left. */
int lx_proxy_control_listen(const char *run_dir, const char *instance, struct lx_err *err);
/* Blocking. -ENOENT without a message when none runs. */
int lx_proxy_control_connect(const char *run_dir, const char *instance, struct lx_err *err);
void lx_proxy_control_forget(const char *run_dir, const char *instance);

#endif
