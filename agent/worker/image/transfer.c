/*
 * The messages of a transfer. The agents on both sides pass them on as they are, so what comes
 * from outside is taken apart here: image, data ..., end, in this order and nothing behind it.
 *
 * Ways to fail: the other side goes away (the stream ends before `end`), another order, no
 * digest where one should be.
 */
#include "agent/worker/image/transfer.h"

#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "images/transfer.h"
#include "lib/str.h"
#include "lxmgr/v1/agent.pb-c.h"
#include "proto/pb.h"

/* ------------------------------------------------------------------ sending */

static int send_one(const int *fd, const Lxmgr__V1__SendImageResponse *msg, struct lx_err *err)
{
	return lx_frame_write(*fd, &msg->base, err);
}

static int send_head(void *arg, Lxmgr__V1__Image *image, struct lx_err *err)
{
	Lxmgr__V1__SendImageResponse msg = LXMGR__V1__SEND_IMAGE_RESPONSE__INIT;

	msg.what_case = LXMGR__V1__SEND_IMAGE_RESPONSE__WHAT_IMAGE;
	msg.image = image;
	return send_one(arg, &msg, err);
}

static int send_data(void *arg, const void *data, size_t len, struct lx_err *err)
{
	Lxmgr__V1__SendImageResponse msg = LXMGR__V1__SEND_IMAGE_RESPONSE__INIT;
	uint8_t *at = (uint8_t *)(uintptr_t)data;

	msg.what_case = LXMGR__V1__SEND_IMAGE_RESPONSE__WHAT_DATA;
	while (len > 0) {
		msg.data.data = at;
		msg.data.len = len < LX_FRAME_CHUNK ? len : LX_FRAME_CHUNK;
		int r = send_one(arg, &msg, err);

		if (r < 0)
			return r;
		at += msg.data.len;
		len -= msg.data.len;
	}
	return 0;
}

static int send_end(void *arg, const char *digest, struct lx_err *err)
{
	Lxmgr__V1__SendImageResponse msg = LXMGR__V1__SEND_IMAGE_RESPONSE__INIT;
	Lxmgr__V1__SendImageEnd end = LXMGR__V1__SEND_IMAGE_END__INIT;

	msg.what_case = LXMGR__V1__SEND_IMAGE_RESPONSE__WHAT_END;
	msg.end = &end;
	end.digest = (char *)(uintptr_t)digest;
	return send_one(arg, &msg, err);
}

int lx_worker_send_image(const char *state_dir, const char *fingerprint, int fd,
			 const struct lx_progress *progress, struct lx_err *err)
{
	const struct lx_image_sender to = {
		.image = send_head, .data = send_data, .end = send_end, .arg = &fd
	};

	return lx_image_send(state_dir, fingerprint, &to, progress, err);
}

/* ------------------------------------------------------------------ receiving */

struct stream {
	int fd;
	Lxmgr__V1__SendImageResponse *msg; /* the current one */
	size_t at;                         /* bytes of its data that were taken */
};

static int next(struct stream *s, Lxmgr__V1__SendImageResponse__WhatCase wanted, struct lx_err *err)
{
	ProtobufCMessage *msg = NULL;
	int r;

	lx_pb_free(s->msg);
	s->msg = NULL;
	s->at = 0;
	r = lx_frame_read(s->fd, &lxmgr__v1__send_image_response__descriptor, &msg, err);
	if (r < 0)
		return r;
	if (r == 0)
		return lx_err_set(err, LX_ABORTED, "the sender stopped before the image was complete");
	s->msg = (Lxmgr__V1__SendImageResponse *)(void *)msg;
	if (wanted && s->msg->what_case != wanted)
		return lx_err_set(err, LX_DATA_LOSS, "the sender's messages do not come in order");
	return 0;
}

static ssize_t read_data(void *arg, void *buf, size_t n, struct lx_err *err)
{
	struct stream *s = arg;

	while (s->msg->what_case != LXMGR__V1__SEND_IMAGE_RESPONSE__WHAT_END) {
		size_t left = s->msg->what_case == LXMGR__V1__SEND_IMAGE_RESPONSE__WHAT_DATA
				      ? s->msg->data.len - s->at
				      : 0;
		if (left > 0) {
			n = n < left ? n : left;
			memcpy(buf, s->msg->data.data + s->at, n);
			s->at += n;
			return (ssize_t)n;
		}
		int r = next(s, 0, err);

		if (r == 0 && s->msg->what_case == LXMGR__V1__SEND_IMAGE_RESPONSE__WHAT_IMAGE)
			r = lx_err_set(err, LX_DATA_LOSS, "the sender's messages do not come in order");
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_digest(void *arg, char ret[LX_FINGERPRINT_LEN + 1], struct lx_err *err)
{
	struct stream *s = arg;

	/* The archive may be at its end before its last bytes were taken: there must be no more. */
	while (s->msg->what_case != LXMGR__V1__SEND_IMAGE_RESPONSE__WHAT_END) {
		if (s->msg->what_case == LXMGR__V1__SEND_IMAGE_RESPONSE__WHAT_DATA &&
		    s->at < s->msg->data.len)
			return lx_err_set(err, LX_DATA_LOSS, "the sender has sent more than the image");
		int r = next(s, 0, err);

		if (r < 0)
			return r;
	}
	if (!lx_fingerprint_valid(s->msg->end->digest))
		return lx_err_set(err, LX_DATA_LOSS, "the sender has not said what the image hashes to");
	memcpy(ret, s->msg->end->digest, LX_FINGERPRINT_LEN + 1);
	return 0;
}

int lx_worker_receive_image(const char *state_dir, const char *fingerprint, int fd,
			    const struct lx_progress *progress, Lxmgr__V1__Image **ret, struct lx_err *err)
{
	struct stream s = { .fd = fd };
	int r = next(&s, LXMGR__V1__SEND_IMAGE_RESPONSE__WHAT_IMAGE, err);

	if (r == 0) {
		/* It has to last longer than its message. */
		Lxmgr__V1__Image *image = s.msg->image;
		const struct lx_image_receiver from = {
			.image = image, .read = read_data, .digest = read_digest, .arg = &s
		};

		s.msg->image = NULL;
		s.msg->what_case = LXMGR__V1__SEND_IMAGE_RESPONSE__WHAT__NOT_SET;
		r = lx_image_receive(state_dir, fingerprint, &from, progress, ret, err);
		lx_pb_free(image);
	}
	lx_pb_free(s.msg);
	return r;
}
