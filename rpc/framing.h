/*
 * Length-prefixed gRPC messages out of a stream of bytes: one byte of flags, four
 * bytes of length (big endian), the message. Pure: no I/O, no time, nothing global.
 *
 * Happy path: feed what arrived; whenever a message is complete it is handed out. A
 * message that lies whole in the chunk is handed out where it lies, without a copy.
 * Ways to fail: a length over LX_RPC_MAX_MESSAGE, the compressed flag (we offer no
 * compression), any other flag, no memory. A framer that has failed is only fit to
 * be released.
 */
#ifndef LX_RPC_FRAMING_H
#define LX_RPC_FRAMING_H

#include <stdbool.h>

#include "lib/buf.h"
#include "rpc/rpc.h"

#define LX_FRAME_HEAD 5u

struct lx_framer {
	uint8_t head[LX_FRAME_HEAD];
	uint8_t have;       /* bytes of head seen so far */
	bool given;         /* body was handed out and is done with */
	uint32_t size;      /* what head says */
	struct lx_buf body; /* the part of the message that arrived, when it came in pieces */
};

void lx_framer_release(struct lx_framer *f);

/*
 * Takes bytes from *data, at most up to the end of one message, and advances both.
 * 1: *msg is a message, valid until the next feed or while the chunk is, whichever ends
 * first. 0: everything was taken, more is needed. -EMSGSIZE, -EOPNOTSUPP (compressed),
 * -EPROTO (unknown flags) or -ENOMEM, with err filled.
 */
int lx_framer_feed(struct lx_framer *f, const uint8_t **data, size_t *len, struct lx_bytes *msg,
		   struct lx_err *err);

/* True in the middle of a message: a stream that ends here was cut. */
bool lx_framer_partial(const struct lx_framer *f);

/* Writes the five bytes that go before a message of `size` bytes. */
void lx_frame_head(uint8_t head[LX_FRAME_HEAD], uint32_t size);

#endif
