/*
 * Bytes for a descriptor whose reader may be slow or gone: queued, written as it takes
 * them, never blocking the loop.
 */
#ifndef LX_CLI_SINK_H
#define LX_CLI_SINK_H

#include "cli/fdwatch.h"
#include "lib/buf.h"

#define CLI_SINK_HIGH_WATER (256u << 10) /* bytes queued before the sender is paused */

struct cli_sink {
	struct cli_fdwatch watch;
	struct lx_buf queue;
	size_t written;                      /* of the queue */
	int error;                           /* errno of the write that failed; all later bytes are dropped */
	void (*drained)(struct cli_sink *s); /* the queue is empty, or the reader is gone */
	void *arg;
};

int cli_sink_init(struct cli_sink *s, uv_loop_t *loop, int fd, void (*drained)(struct cli_sink *s), void *arg,
		  struct lx_err *err);
/* 1: above the high water, wait for `drained`. */
int cli_sink_put(struct cli_sink *s, const void *data, size_t len);
static inline size_t cli_sink_pending(const struct cli_sink *s)
{
	return s->queue.len - s->written;
}
void cli_sink_close(struct cli_sink *s);

#endif
