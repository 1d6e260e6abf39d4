/*
 * The socket by which workers talk to a program that lives as long as an instance:
 * <run_dir>/<instance><suffix>, which only the node's root reaches. Whole messages (SOCK_SEQPACKET).
 */
#ifndef LX_WORKER_CONTROL_SOCKET_H
#define LX_WORKER_CONTROL_SOCKET_H

#include "lib/err.h"

#define LX_CONTROL_PROXY     ".proxy"     /* agent/worker/proxy/daemon.h */
#define LX_CONTROL_INTERCEPT ".intercept" /* agent/worker/intercept/daemon.h */

/* Non-blocking, in the place of one that a killed process has left. */
int lx_control_listen(const char *run_dir, const char *instance, const char *suffix, struct lx_err *err);
/* `flags`: 0 or SOCK_NONBLOCK. -ENOENT without a message when none runs. */
int lx_control_connect(const char *run_dir, const char *instance, const char *suffix, int flags,
		       struct lx_err *err);
void lx_control_forget(const char *run_dir, const char *instance, const char *suffix);

#endif
