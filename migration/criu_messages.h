/*
 * CRIU's image files (criu_image.proto): a number that all of them begin with, one that says which kind it
 * is (both of its include/magic.h), and then messages, each after its length; numbers are of 32 bits,
 * little-endian. Nothing in them is trusted.
 */
#ifndef LX_MIGRATION_CRIU_MESSAGES_H
#define LX_MIGRATION_CRIU_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

struct lx_criu_messages {
	const uint8_t *at;
	size_t left;
};

/* False: it is no image of that kind. Borrows `data`. */
bool lx_criu_messages_open(const void *data, size_t len, uint32_t kind, struct lx_criu_messages *ret);
/* 1: there is one more, within the data; 0: there is none; -EBADMSG: it is cut off. */
int lx_criu_messages_next(struct lx_criu_messages *in, const uint8_t **ret, size_t *ret_len);

/* -ENOMEM, or 0. */
int lx_criu_messages_begin(struct lx_buf *out, uint32_t kind);
int lx_criu_messages_put(struct lx_buf *out, const uint8_t *message, size_t len);

#endif
