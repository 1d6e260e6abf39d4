/*
 * Compressing what is sent, where that makes a move faster: when the sender waits most of the time for what
 * it has written to be taken, and that is no faster than a gigabit link, the link is the bottleneck.
 *
 * It is judged anew after every LX_PACK_WINDOW bytes, and tried out: where the processor is what is waited
 * for then, and not at least a tenth more gets through than without, it is left be for a while, each time
 * twice as long.
 */
#ifndef LX_WORKER_MOVE_PACK_H
#define LX_WORKER_MOVE_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lxmgr/v1/migration.pb-c.h"

#define LX_PACK_WINDOW    (1u << 20)             /* bytes, as they are before */
#define LX_PACK_RATE_MAX  (125ull * 1000 * 1000) /* bytes a second */
#define LX_PACK_FRAME_MIN 4096u                  /* what is smaller is sent as it is */
#define LX_PACK_PAUSE_MAX 256u                   /* windows */

struct lx_pack {
	bool able;                      /* the other side takes compressed frames */
	bool on;                        /* they are compressed */
	uint64_t raw, waited_ns, since; /* of this window: bytes, time in writes, monotonic ns of its begin */
	uint64_t plain_rate;            /* bytes a second of the last window without */
	unsigned pause, next_pause;     /* windows until it is tried again, and after that one */
	void *context;                  /* the compressor's, or NULL */
};

/*
 * A frame of `raw` bytes has been written, which took from `began` to `now` (monotonic ns). Decides whether
 * those after it are compressed. Pure.
 */
void lx_pack_note(struct lx_pack *p, size_t raw, uint64_t began, uint64_t now);
/*
 * The frame compressed, in `ret`, whose data is the caller's to free. 1; 0: it is better sent as it is;
 * -ENOMEM.
 */
int lx_pack(struct lx_pack *p, const Lxmgr__V1__MoveFrame *frame, Lxmgr__V1__MovePacked *ret);
/* The frame in there, freed with lx_pb_free(). A size above LX_FRAME_MAX, and anything that is none, is
 * refused. */
int lx_unpack(const Lxmgr__V1__MovePacked *packed, Lxmgr__V1__MoveFrame **ret, struct lx_err *err);
void lx_pack_release(struct lx_pack *p);

#endif
