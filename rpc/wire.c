/* Reading fields; see wire.h. */
#include <errno.h>

#include "rpc/wire.h"

enum { VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5 };

static int take_varint(struct lx_bytes *in, uint64_t *ret)
{
	unsigned shift;

	*ret = 0;
	for (shift = 0; shift < 64 && in->len; shift += 7) {
		uint8_t byte = *in->data++;

		in->len--;
		*ret |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return 0;
	}
	return -EINVAL;
}

static int take_bytes(struct lx_bytes *in, uint64_t n, struct lx_bytes *ret)
{
	if (n > in->len)
		return -EINVAL;
	*ret = (struct lx_bytes){ .data = in->data, .len = (size_t)n };
	in->data += n;
	in->len -= (size_t)n;
	return 0;
}

int lx_wire_next(struct lx_bytes *in, struct lx_wire_field *f)
{
	struct lx_bytes skipped;
	uint64_t tag, n;
	int r;

	if (!in->len)
		return 0;
	if (take_varint(in, &tag) < 0)
		return -EINVAL;
	*f = (struct lx_wire_field){ .number = (uint32_t)(tag >> 3), .delimited = (tag & 7) == DELIMITED };
	switch (tag & 7) {
	case VARINT:
		r = take_varint(in, &n);
		break;
	case FIXED64:
		r = take_bytes(in, 8, &skipped);
		break;
	case DELIMITED:
		r = take_varint(in, &n);
		if (r == 0)
			r = take_bytes(in, n, &f->content);
		break;
	case FIXED32:
		r = take_bytes(in, 4, &skipped);
		break;
	default:
		r = -EINVAL;
		break;
	}
	return r < 0 ? r : 1;
}
