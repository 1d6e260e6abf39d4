#include "migration/criu_messages.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define COMMON 0x54564319u

static bool take(struct lx_criu_messages *in, uint32_t *ret)
{
	if (in->left < sizeof(*ret))
		return false;
	memcpy(ret, in->at, sizeof(*ret));
	*ret = le32toh(*ret);
	in->at += sizeof(*ret);
	in->left -= sizeof(*ret);
	return true;
}

bool lx_criu_messages_open(const void *data, size_t len, uint32_t kind, struct lx_criu_messages *ret)
{
	uint32_t common, is;

	*ret = (struct lx_criu_messages){ data, len };
	return take(ret, &common) && take(ret, &is) && common == COMMON && is == kind;
}

int lx_criu_messages_next(struct lx_criu_messages *in, const uint8_t **ret, size_t *ret_len)
{
	uint32_t len;

	if (in->left == 0)
		return 0;
	if (!take(in, &len) || len > in->left)
		return -EBADMSG;
	*ret = in->at;
	*ret_len = len;
	in->at += len;
	in->left -= len;
	return 1;
}

static int put(struct lx_buf *out, uint32_t value)
{
	value = htole32(value);
	return lx_buf_append(out, &value, sizeof(value)) < 0 ? -ENOMEM : 0;
}

int lx_criu_messages_begin(struct lx_buf *out, uint32_t kind)
{
	int r = put(out, COMMON);

	return r < 0 ? r : put(out, kind);
}

int lx_criu_messages_put(struct lx_buf *out, const uint8_t *message, size_t len)
{
	int r = put(out, (uint32_t)len);

	return r < 0 || lx_buf_append(out, message, len) < 0 ? -ENOMEM : 0;
}
