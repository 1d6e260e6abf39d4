/* Four bytes of length, most significant first, then the message. */
#include "agent/frames.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "proto/frame.h"

int lx_frames_to_call(struct lx_buf *partial, const uint8_t *data, size_t len, struct lx_call *call)
{
	int full = 0;
	size_t at = 0;

	if (lx_buf_append(partial, data, len) < 0)
		return -ENOMEM;
	for (;;) {
		uint32_t size;

		if (partial->len - at < LX_FRAME_HEADER)
			break;
		memcpy(&size, partial->data + at, LX_FRAME_HEADER);
		size = ntohl(size);
		if (size > LX_FRAME_MAX)
			return -EMSGSIZE;
		if (partial->len - at < LX_FRAME_HEADER + size)
			break;
		struct lx_bytes msg = { .data = partial->data + at + LX_FRAME_HEADER, .len = size };
		int r = lx_call_send_bytes(call, msg);

		if (r < 0)
			return r;
		full |= r;
		at += LX_FRAME_HEADER + size;
	}
	lx_buf_consume(partial, at);
	return full;
}

int lx_frames_to_sink(struct lx_sink *sink, struct lx_bytes msg, struct lx_err *err)
{
	uint32_t head = htonl((uint32_t)msg.len);

	if (msg.len > LX_FRAME_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a message of %zu bytes, the limit is %d",
				  msg.len, LX_FRAME_MAX);
	int r = lx_sink_write(sink, &head, sizeof(head));

	if (r >= 0)
		r = lx_sink_write(sink, msg.data, msg.len);
	return r < 0 ? lx_err_oom(err) : r;
}
