/*
 * A side that gives up says so and closes. Whoever is just sending then meets a closed socket
 * before it reads the reason: so after a failed write what has come in is read for it.
 */
#include "agent/worker/move/talk.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "proto/frame.h"
#include "proto/pb.h"

static int broken(struct lx_err *err)
{
	int r = lx_err_set(err, LX_UNAVAILABLE, "the connection to the other node broke");

	lx_err_hint(err, "lxmgr node list shows whether it is there. Trying again is safe.");
	return r;
}

static int refused(const Lxmgr__V1__MoveFailed *f, struct lx_err *err)
{
	lx_err_set(err, f->code > 0 && f->code <= LX_UNAUTHENTICATED ? (enum lx_code)f->code : LX_UNKNOWN,
		   "%s", f->message);
	if (*f->hint)
		lx_err_hint(err, "%s", f->hint);
	return -ECANCELED;
}

/* Reads on, without waiting, for the other side's reason. */
static int find_reason(struct lx_talk *t, struct lx_err *err)
{
	struct pollfd p = { .fd = t->fd, .events = POLLIN };
	int r = 0;

	while (r == 0 && poll(&p, 1, 0) > 0 && (p.revents & POLLIN)) {
		ProtobufCMessage *m = NULL;

		if (lx_frame_read(t->fd, &lxmgr__v1__move_frame__descriptor, &m, NULL) <= 0)
			break;
		const Lxmgr__V1__MoveFrame *frame = (const void *)m;

		if (frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_FAILED)
			r = refused(frame->failed, err);
		lx_pb_free(m);
	}
	return r < 0 ? r : broken(err);
}

/* Compressed where that is faster: `ret` is what to send, which `packed` and `wrap` may hold. */
static int pack(struct lx_talk *t, const Lxmgr__V1__MoveFrame *frame, Lxmgr__V1__MovePacked *packed,
		Lxmgr__V1__MoveFrame *wrap, const Lxmgr__V1__MoveFrame **ret, struct lx_err *err)
{
	int r = lx_pack(&t->pack, frame, packed);

	*ret = frame;
	if (r < 0)
		return lx_err_oom(err);
	if (r == 0)
		return 0;
	lxmgr__v1__move_frame__init(wrap);
	wrap->what_case = LXMGR__V1__MOVE_FRAME__WHAT_PACKED;
	wrap->packed = packed;
	*ret = wrap;
	return 0;
}

int lx_talk_send(struct lx_talk *t, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err)
{
	Lxmgr__V1__MovePacked packed = LXMGR__V1__MOVE_PACKED__INIT;
	Lxmgr__V1__MoveFrame wrap;
	const Lxmgr__V1__MoveFrame *what;
	int r = pack(t, frame, &packed, &wrap, &what, err);

	if (r < 0)
		return r;
	uint64_t began = lx_now_monotonic_ns();
	size_t size = protobuf_c_message_get_packed_size(&what->base);

	r = lx_frame_write(t->fd, &what->base, err);
	lx_pack_note(&t->pack, protobuf_c_message_get_packed_size(&frame->base), began,
		     lx_now_monotonic_ns());
	free(packed.data.data);
	if (r == -EPIPE || r == -ECONNRESET)
		return find_reason(t, err);
	if (r < 0)
		return r;
	t->sent += LX_FRAME_HEADER + size;
	if (t->on_sent)
		t->on_sent(t->arg);
	return 0;
}

static int unpack(ProtobufCMessage *m, Lxmgr__V1__MoveFrame **ret, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame *frame = (void *)m;

	if (frame->what_case != LXMGR__V1__MOVE_FRAME__WHAT_PACKED) {
		*ret = frame;
		return 0;
	}
	int r = lx_unpack(frame->packed, ret, err);

	lx_pb_free(m);
	return r;
}

int lx_talk_recv(struct lx_talk *t, Lxmgr__V1__MoveFrame **ret, struct lx_err *err)
{
	ProtobufCMessage *m = NULL;
	int r = lx_frame_read(t->fd, &lxmgr__v1__move_frame__descriptor, &m, err);

	if (r == 0 || r == -ECONNRESET)
		return broken(err);
	if (r < 0)
		return r;
	Lxmgr__V1__MoveFrame *frame = NULL;

	r = unpack(m, &frame, err);
	if (r < 0)
		return r;
	if (frame->what_case != LXMGR__V1__MOVE_FRAME__WHAT_FAILED) {
		*ret = frame;
		return 0;
	}
	r = refused(frame->failed, err);
	lx_pb_free(frame);
	return r;
}

int lx_talk_expect(struct lx_talk *t, Lxmgr__V1__MoveFrame__WhatCase what, Lxmgr__V1__MoveFrame **ret,
		   struct lx_err *err)
{
	Lxmgr__V1__MoveFrame *frame = NULL;
	int r = lx_talk_recv(t, &frame, err);

	if (r < 0)
		return r;
	if (frame->what_case != what) {
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "the other node sent frame %d where %d was due",
			       (int)frame->what_case, (int)what);
		lx_err_hint(err, "Are both nodes of the same version? lxmgr node list shows it.");
		lx_pb_free(frame);
		return r;
	}
	if (ret)
		*ret = frame;
	else
		lx_pb_free(frame);
	return 0;
}

void lx_talk_fail(struct lx_talk *t, const struct lx_err *why)
{
	Lxmgr__V1__MoveFailed failed = LXMGR__V1__MOVE_FAILED__INIT;
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;

	failed.code = why->code;
	failed.message = (char *)(uintptr_t)why->msg;
	failed.hint = (char *)(uintptr_t)why->hint;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_FAILED;
	frame.failed = &failed;
	(void)lx_frame_write(t->fd, &frame.base, NULL);
}

static int send_frame(void *arg, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err)
{
	return lx_talk_send(arg, frame, err);
}

struct lx_move_out lx_talk_out(struct lx_talk *t)
{
	return (struct lx_move_out){ .send = send_frame, .arg = t };
}
