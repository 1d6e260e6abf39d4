/*
 * Transfers between the agent and a worker: a stream of messages on a descriptor, each behind
 * its length as four bytes, most significant first. The end of the stream is the
 * sender's closing (or shutting down) its end.
 *
 * These functions block; the agent, which must not, reads and writes the same bytes its
 * own way.
 */
#ifndef LX_PROTO_FRAME_H
#define LX_PROTO_FRAME_H

#include <protobuf-c/protobuf-c.h>

#include "lib/err.h"

#define LX_FRAME_HEADER 4
/* Largest message: a chunk of a move, or what the kernel keeps of a guest's network. */
#define LX_FRAME_MAX (1024 * 1024)
/* Bytes of a file in one message of a file transfer. */
#define LX_FRAME_CHUNK (64 * 1024)

/* 1: a message, owned by the caller; 0: the end; else a negative errno. */
int lx_frame_read(int fd, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret, struct lx_err *err);
/* -EPIPE when the reader has gone. Never raises SIGPIPE on sockets. */
int lx_frame_write(int fd, const ProtobufCMessage *m, struct lx_err *err);

#endif
