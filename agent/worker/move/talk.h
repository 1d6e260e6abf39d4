/*
 * The conversation of the two workers of a move, as one of them has it: frames over the
 * socket that its agent relays. Everything blocks.
 */
#ifndef LX_WORKER_MOVE_TALK_H
#define LX_WORKER_MOVE_TALK_H

#include <stdint.h>

#include "agent/worker/move/pack.h"
#include "migration/migration.h"

struct lx_talk {
	int fd;
	struct lx_pack pack;        /* of what is sent */
	uint64_t sent;              /* bytes, frames' own included */
	void (*on_sent)(void *arg); /* after each frame; may be NULL */
	void *arg;
};

/*
 * -EPIPE when the other side is gone; when it has said why, that is the error, and
 * -ECANCELED. LX_UNAVAILABLE in err means that the conversation broke.
 */
int lx_talk_send(struct lx_talk *t, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err);
/* The next frame, freed with lx_pb_free(). "failed" comes as its error; so does an end. */
int lx_talk_recv(struct lx_talk *t, Lxmgr__V1__MoveFrame **ret, struct lx_err *err);
/* The next frame has to be of that kind. */
int lx_talk_expect(struct lx_talk *t, Lxmgr__V1__MoveFrame__WhatCase what, Lxmgr__V1__MoveFrame **ret,
		   struct lx_err *err);
/* Tells why this side gives up; the other one may be gone. */
void lx_talk_fail(struct lx_talk *t, const struct lx_err *why);
/* For migration/'s senders. */
struct lx_move_out lx_talk_out(struct lx_talk *t);

#endif
