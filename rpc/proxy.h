/*
 * Splices a server-side call to a client-side one: messages, half-close, status with
 * message and hint, cancellation, deadline and back-pressure pass through both ways,
 * messages undecoded. The server's method must be declared `raw` (and `open`).
 */
#ifndef LX_RPC_PROXY_H
#define LX_RPC_PROXY_H

#include "rpc/rpc.h"

/*
 * `first` (data NULL: none) is a message already taken from `call`, sent ahead of the rest.
 * `half_closed`: the client had already closed its side. On failure to start, the call is
 * ended with the error. `done` (may be NULL) runs once when both sides have ended.
 */
void lx_rpc_proxy(struct lx_call *call, struct lx_channel *to, const char *path, struct lx_bytes first,
		  bool half_closed, const struct lx_call_options *opt,
		  void (*done)(const struct lx_err *err, void *arg), void *arg);

#endif
