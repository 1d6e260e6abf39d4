/*
 * Messages between a call and a worker's stream socket (proto/frame.h), without blocking: out of
 * the bytes that a source gives, into a sink.
 */
#ifndef LX_AGENT_FRAMES_H
#define LX_AGENT_FRAMES_H

#include "agent/pump.h"
#include "lib/buf.h"
#include "rpc/rpc.h"

/*
 * Takes in bytes of the stream and gives each whole message to the call. What is left of one
 * waits in `partial`. 0; 1: taken, but the call is full; or a negative errno.
 */
int lx_frames_to_call(struct lx_buf *partial, const uint8_t *data, size_t len, struct lx_call *call);
/* One message into the sink. 0; 1: taken, but the sink is full; or a negative errno. */
int lx_frames_to_sink(struct lx_sink *sink, struct lx_bytes msg, struct lx_err *err);

#endif
