/*
 * Message reassembly and decoding. The same bytes in one piece and in pieces must give the
 * same messages, and the same refusal.
 */
#include <stdlib.h>
#include <string.h>

#include "rpc/framing.h"
#include "rpc/text.h"
#include "rpc/unpack.h"
#include "tests/echo.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	size_t messages;
	uint64_t sum; /* of lengths and contents */
	int end;      /* 0 or the error */
};

static struct run feed(const uint8_t *data, size_t size, size_t step)
{
	struct lx_framer f = { 0 };
	struct run run = { 0 };
	struct lx_bytes msg;
	size_t i;

	while (size && run.end == 0) {
		size_t len = step < size ? step : size;
		/* A copy of exactly that size: reading past its end is seen. */
		uint8_t *copy = malloc(len);
		const uint8_t *p = copy;

		memcpy(copy, data, len);
		data += len;
		size -= len;
		while (len && run.end == 0) {
			int r = lx_framer_feed(&f, &p, &len, &msg, NULL);

			if (r < 0)
				run.end = r;
			if (r != 1)
				continue;
			run.messages++;
			run.sum = run.sum * 31 + msg.len;
			for (i = 0; i < msg.len; i++)
				run.sum = run.sum * 31 + msg.data[i];
		}
		free(copy);
	}
	lx_framer_release(&f);
	return run;
}

/* What the decoder takes the look at its texts takes too, or names the bad field. */
static void check_decoding(struct lx_bytes bytes)
{
	const ProtobufCMessageDescriptor *type = &lxmgr__test__v1__echo_request__descriptor;
	struct lx_unpacked u = { 0 };
	struct lx_err err = LX_ERR_INIT;

	if (lx_rpc_unpack(&u, type, bytes, NULL) < 0) {
		if (u.msg || u.memory)
			abort();
		return;
	}
	if (lx_text_check(type, bytes, &err) < 0 && strncmp(err.msg, "field ", 6) != 0)
		abort();
	lx_unpacked_release(&u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run whole, pieces;

	if (!size)
		return 0;
	whole = feed(data + 1, size - 1, size);
	pieces = feed(data + 1, size - 1, data[0] % 17 + 1);
	if (whole.messages != pieces.messages || whole.sum != pieces.sum || whole.end != pieces.end)
		abort();
	check_decoding((struct lx_bytes){ data, size });
	return 0;
}
