/*
 * The protobuf wire format, field by field, for what generated code cannot tell: texts as they
 * were sent (text.h), descriptors of recursive types (descriptor.h). Pure.
 */
#ifndef LX_RPC_WIRE_H
#define LX_RPC_WIRE_H

#include "rpc/rpc.h"

struct lx_wire_field {
	uint32_t number;
	bool delimited;          /* a string, bytes, a message or packed numbers */
	struct lx_bytes content; /* of a delimited one, within the input; else empty */
};

/* Takes a field off the front of `in`. 1: a field; 0: there is none left; -EINVAL: it is none. */
int lx_wire_next(struct lx_bytes *in, struct lx_wire_field *f);

#endif
