/* Reassembly of length-prefixed messages; see framing.h. */
#include <errno.h>
#include <string.h>

#include "rpc/framing.h"

#define FLAG_COMPRESSED 1u

/* Room made for a message when its first bytes arrive. */
#define START_BYTES 65536u

/* A buffer larger than this is given back after its message instead of kept for the next. */
#define KEEP_BYTES 16384u

void lx_framer_release(struct lx_framer *f)
{
	lx_buf_release(&f->body);
	*f = (struct lx_framer){ 0 };
}

bool lx_framer_partial(const struct lx_framer *f)
{
	return f->have > 0;
}

void lx_frame_head(uint8_t head[LX_FRAME_HEAD], uint32_t size)
{
	head[0] = 0;
	head[1] = (uint8_t)(size >> 24);
	head[2] = (uint8_t)(size >> 16);
	head[3] = (uint8_t)(size >> 8);
	head[4] = (uint8_t)size;
}

static int parse_head(struct lx_framer *f, struct lx_err *err)
{
	const uint8_t *h = f->head;

	if (h[0] == FLAG_COMPRESSED) {
		lx_err_set(err, LX_UNIMPLEMENTED,
			   "the message is compressed; no compression is offered here");
		return -EOPNOTSUPP;
	}
	if (h[0]) {
		lx_err_set(err, LX_INVALID_ARGUMENT, "the message has unknown flags (0x%02x)", h[0]);
		return -EPROTO;
	}
	f->size = (uint32_t)h[1] << 24 | (uint32_t)h[2] << 16 | (uint32_t)h[3] << 8 | h[4];
	if (f->size > LX_RPC_MAX_MESSAGE) {
		lx_err_set(err, LX_RESOURCE_EXHAUSTED, "the message has %u bytes, the limit is %u", f->size,
			   LX_RPC_MAX_MESSAGE);
		return -EMSGSIZE;
	}
	return 0;
}

int lx_framer_feed(struct lx_framer *f, const uint8_t **data, size_t *len, struct lx_bytes *msg,
		   struct lx_err *err)
{
	size_t take;
	int r;

	if (f->given) {
		f->given = false;
		f->body.len = 0;
		if (f->body.cap > KEEP_BYTES)
			lx_buf_release(&f->body);
	}

	if (f->have < LX_FRAME_HEAD) {
		take = LX_FRAME_HEAD - f->have;
		if (take > *len)
			take = *len;
		memcpy(f->head + f->have, *data, take);
		f->have += (uint8_t)take;
		*data += take;
		*len -= take;
		if (f->have < LX_FRAME_HEAD)
			return 0;
		r = parse_head(f, err);
		if (r < 0)
			return r;
	}

	if (f->body.len == 0 && *len >= f->size) {
		*msg = (struct lx_bytes){ .data = *data, .len = f->size };
		*data += f->size;
		*len -= f->size;
		f->have = 0;
		return 1;
	}

	/* Memory follows what has arrived, not what was announced, beyond a small start. */
	if (!f->body.cap && lx_buf_reserve(&f->body, f->size < START_BYTES ? f->size : START_BYTES) < 0)
		return lx_err_oom(err);
	take = f->size - f->body.len;
	if (take > *len)
		take = *len;
	if (lx_buf_append(&f->body, *data, take) < 0)
		return lx_err_oom(err);
	*data += take;
	*len -= take;
	if (f->body.len < f->size)
		return 0;
	*msg = (struct lx_bytes){ .data = f->body.data, .len = f->body.len };
	f->have = 0;
	f->given = true;
	return 1;
}
