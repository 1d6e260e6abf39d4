/* Zstandard at its fastest ordinary level; each frame by itself, so that a lost one would cost no other. */
#include "agent/worker/move/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "proto/frame.h"
#include "proto/pb.h"

#define LEVEL 1

/* ------------------------------------------------------------------ when */

/* Most of the time nothing is done but waiting for the link. */
static bool waits(const struct lx_pack *p, uint64_t took_ns)
{
	return p->waited_ns > took_ns / 2;
}

static void leave_be(struct lx_pack *p)
{
	p->on = false;
	p->pause = p->next_pause;
	p->next_pause = p->next_pause >= LX_PACK_PAUSE_MAX ? LX_PACK_PAUSE_MAX : 2 * p->next_pause;
}

static void judge(struct lx_pack *p, uint64_t took_ns)
{
	uint64_t rate = p->raw * LX_NSEC_PER_SEC / (took_ns ? took_ns : 1);

	if (p->next_pause == 0)
		p->next_pause = 8;
	if (p->on) {
		/* What does not shrink costs little while the link is waited for all the same. */
		if (!waits(p, took_ns) && rate < p->plain_rate + p->plain_rate / 10)
			leave_be(p);
		return;
	}
	p->plain_rate = rate;
	if (p->pause > 0)
		p->pause--;
	else
		p->on = waits(p, took_ns) && rate < LX_PACK_RATE_MAX;
}

void lx_pack_note(struct lx_pack *p, size_t raw, uint64_t began, uint64_t now)
{
	if (p->raw == 0)
		p->since = began;
	p->raw += raw;
	p->waited_ns += now - began;
	if (p->raw < LX_PACK_WINDOW)
		return;
	judge(p, now - p->since);
	p->raw = p->waited_ns = 0;
}

/* ------------------------------------------------------------------ how */

static int compress(struct lx_pack *p, const uint8_t *data, size_t n, Lxmgr__V1__MovePacked *ret)
{
	size_t room = ZSTD_compressBound(n);
	uint8_t *out = malloc(room);

	if (!p->context)
		p->context = ZSTD_createCCtx();
	if (!out || !p->context) {
		free(out);
		return -ENOMEM;
	}
	size_t len = ZSTD_compressCCtx(p->context, out, room, data, n, LEVEL);

	/* An eighth less, or it is not worth what it costs the other side. */
	if (ZSTD_isError(len) || len > n - n / 8) {
		free(out);
		return 0;
	}
	lxmgr__v1__move_packed__init(ret);
	ret->size = (uint32_t)n;
	ret->data.data = out;
	ret->data.len = len;
	return 1;
}

int lx_pack(struct lx_pack *p, const Lxmgr__V1__MoveFrame *frame, Lxmgr__V1__MovePacked *ret)
{
	size_t n = 0;
	lx_autofree uint8_t *data = NULL;

	if (!p->able || !p->on || frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_FAILED)
		return 0;
	n = protobuf_c_message_get_packed_size(&frame->base);
	if (n < LX_PACK_FRAME_MIN || n > LX_FRAME_MAX)
		return 0;
	data = lx_pb_pack(&frame->base, &n);
	return data ? compress(p, data, n, ret) : -ENOMEM;
}

int lx_unpack(const Lxmgr__V1__MovePacked *packed, Lxmgr__V1__MoveFrame **ret, struct lx_err *err)
{
	if (packed->size > LX_FRAME_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "refusing a compressed frame of %u bytes: the limit is %d", packed->size,
				  LX_FRAME_MAX);
	lx_autofree uint8_t *data = malloc(packed->size ? packed->size : 1);

	if (!data)
		return lx_err_oom(err);
	size_t n = ZSTD_decompress(data, packed->size, packed->data.data, packed->data.len);
	Lxmgr__V1__MoveFrame *frame =
		ZSTD_isError(n) || n != packed->size ? NULL : lxmgr__v1__move_frame__unpack(NULL, n, data);

	/* One within another is no use to anybody. */
	if (frame && frame->what_case != LXMGR__V1__MOVE_FRAME__WHAT_PACKED) {
		*ret = frame;
		return 0;
	}
	lx_pb_free(frame);
	return lx_err_set(err, LX_INVALID_ARGUMENT, "received %zu bytes that are not a compressed frame",
			  packed->data.len);
}

void lx_pack_release(struct lx_pack *p)
{
	ZSTD_freeCCtx(p->context);
	p->context = NULL;
}
