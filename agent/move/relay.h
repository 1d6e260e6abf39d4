/*
 * The conversation of two move workers, as it passes through an agent: frames from a worker's
 * socket into a call to the other agent, and back, at the pace of the slower side.
 */
#ifndef LX_AGENT_MOVE_RELAY_H
#define LX_AGENT_MOVE_RELAY_H

#include <uv.h>

#include "lxmgr/v1/migration.pb-c.h"
#include "rpc/rpc.h"

struct lx_relay;

/* The call has ended. The worker's side is still open. */
typedef void (*lx_relay_ended_cb)(void *arg, const struct lx_err *err);

/*
 * `fd`, the agent's end of the worker's socket, is taken in any case. The relay sets the call's
 * events. `server`: the call is one that was made to us.
 */
int lx_relay_open(uv_loop_t *loop, struct lx_call *call, bool server, int fd, lx_relay_ended_cb ended,
		  void *arg, struct lx_relay **ret, struct lx_err *err);
/* A message that came before there was a relay, or one of our own: to the worker. */
void lx_relay_tell(struct lx_relay *r, const Lxmgr__V1__MoveFrame *frame);
/* The call has ended; what the worker sends on is dropped. */
bool lx_relay_is_cut(const struct lx_relay *r);
/*
 * The worker has ended, or is to. With an error the call is ended with it at once; without,
 * when all that the worker has written was passed on. `ended` does not come any more. NULL
 * is fine.
 */
void lx_relay_close(struct lx_relay *r, const struct lx_err *err);

#endif
