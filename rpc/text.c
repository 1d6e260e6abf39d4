/* Checking strings; see text.h. */
#include <errno.h>
#include <string.h>

#include "rpc/text.h"
#include "rpc/wire.h"

/* Bytes of a character by its first one; 0 for what cannot be the first. */
static unsigned sequence_length(unsigned char c)
{
	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf)
		return 2;
	if ((c & 0xf0) == 0xe0)
		return 3;
	return c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

bool lx_text_is_utf8(struct lx_bytes text)
{
	const uint8_t *p = text.data, *end = text.data + text.len;

	while (p < end) {
		unsigned n = sequence_length(*p), i;

		if (n == 0 || n > (size_t)(end - p))
			return false;
		for (i = 1; i < n; i++)
			if ((p[i] & 0xc0) != 0x80)
				return false;
		/* Longer than needed, a surrogate, or past the last character. */
		if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
		    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
			return false;
		p += n;
	}
	return true;
}

static int check_text(const ProtobufCFieldDescriptor *f, struct lx_bytes text, struct lx_err *err)
{
	const char *fault = NULL;

	if (!lx_text_is_utf8(text))
		fault = "is not UTF-8";
	else if (text.len && memchr(text.data, '\0', text.len))
		fault = "has a NUL in it";
	if (!fault)
		return 0;
	lx_err_set(err, LX_INVALID_ARGUMENT, "field %s %s", f->name, fault);
	return -EINVAL;
}

int lx_text_check(const ProtobufCMessageDescriptor *type, struct lx_bytes bytes, struct lx_err *err)
{
	const ProtobufCFieldDescriptor *f;
	struct lx_wire_field w;
	int more, r = 0;

	while (r == 0 && (more = lx_wire_next(&bytes, &w)) != 0) {
		if (more < 0) {
			lx_err_set(err, LX_INVALID_ARGUMENT, "the message is not a valid %s", type->name);
			return -EINVAL;
		}
		f = w.delimited ? protobuf_c_message_descriptor_get_field(type, w.number) : NULL;
		if (f && f->type == PROTOBUF_C_TYPE_STRING)
			r = check_text(f, w.content, err);
		else if (f && f->type == PROTOBUF_C_TYPE_MESSAGE)
			/* As deep as the types nest: none of ours contains itself. */
			r = lx_text_check(f->descriptor, w.content, err);
	}
	return r;
}
