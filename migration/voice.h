/*
 * When a guest is heard again after a move: the first frame with something that a process of its says, by
 * the kernel's time of its arrival at the host end of a card. What the guest's kernel says by itself does not
 * count: address resolution, group membership, acknowledgements without data, answers to pings and to
 * connections that others begin.
 *
 * For the report alone: what cannot be had is not heard, and nobody waits for it.
 */
#ifndef LX_MIGRATION_VOICE_H
#define LX_MIGRATION_VOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lxmgr/v1/agent.pb-c.h"

#define LX_VOICE_CARDS_MAX 16u  /* further ones are not listened to */
#define LX_VOICE_FRAME     128u /* of a frame: enough for all headers that are looked at */

struct lx_voice {
	int fds[LX_VOICE_CARDS_MAX]; /* by card; -1: none */
	unsigned n;
};

#define LX_VOICE_NONE ((struct lx_voice){ .n = 0 })

/* Well ahead: the kernel needs a moment until it notes times of arrival. Released in any case. */
void lx_voice_open(size_t n_nics, struct lx_voice *ret);
/* The host ends of its cards are there. Nothing is heard yet. */
void lx_voice_bind(const struct lx_voice *v, size_t n_nics, Lxmgr__V1__Nic *const *nics);
/* From now on. */
void lx_voice_listen(const struct lx_voice *v);
/* The first, since the epoch; 0: it has said nothing yet. Asked once, as it takes out what is there. */
int64_t lx_voice_heard_at_ns(const struct lx_voice *v);
/* Takes milliseconds. */
void lx_voice_release(struct lx_voice *v);

/* Whether a frame, of which the first `len` bytes are here, is a process's. */
bool lx_voice_is_said(const uint8_t *frame, size_t len);

#endif
