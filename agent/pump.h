/*
 * Bytes between descriptors and calls, at the pace of the slower side.
 *
 * A source reads a descriptor for a receiver that may say "enough for now"; a sink writes
 * what it is given and says when it has had enough. Both own their descriptor (pipe,
 * socket or pty master), closed with them; no callback comes after close. Memory is taken
 * only for what a sink could not write at once.
 */
#ifndef LX_AGENT_PUMP_H
#define LX_AGENT_PUMP_H

#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "lib/err.h"

/* Bytes handed out at once. What the wire allows in one message of data. */
#define LX_PUMP_CHUNK 65536u

struct lx_source;

struct lx_source_events {
	/* Borrowed bytes. 0: more; 1: no more until lx_source_resume(). The source may be closed in here. */
	int (*data)(const uint8_t *data, size_t len, void *arg);
	/* Nothing more will come. Once. */
	void (*end)(void *arg);
};

/* Takes `fd` in any case. */
int lx_source_open(uv_loop_t *loop, int fd, const struct lx_source_events *events, void *arg,
		   struct lx_source **ret, struct lx_err *err);
void lx_source_resume(struct lx_source *s);
/* The writer has gone: what is there now is all, even if somebody else still holds the other end. */
void lx_source_finish(struct lx_source *s);
/* NULL is fine. */
void lx_source_close(struct lx_source *s);

struct lx_sink;

/* Bytes a sink holds before it says 1. */
#define LX_SINK_HIGH_WATER (256u << 10)

struct lx_sink_events {
	/* Everything is written, after lx_sink_write() had returned 1. */
	void (*drained)(void *arg);
};

/* Takes `fd` in any case. */
int lx_sink_open(uv_loop_t *loop, int fd, const struct lx_sink_events *events, void *arg,
		 struct lx_sink **ret, struct lx_err *err);
/* 0; 1: taken, but wait for `drained`; -ENOMEM. When nobody reads any more, bytes are dropped. */
int lx_sink_write(struct lx_sink *s, const void *data, size_t len);
/* Closes the descriptor as soon as everything is written. */
void lx_sink_end(struct lx_sink *s);
void lx_sink_close(struct lx_sink *s);
/* The descriptor, for ioctls; -1 when it is closed. */
int lx_sink_fd(const struct lx_sink *s);

#endif
