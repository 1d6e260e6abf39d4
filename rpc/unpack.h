/*
 * Messages from outside, decoded within a memory budget.
 *
 * protobuf-c's structs can be fifty times larger than the bytes they came from (a
 * repeated empty message takes two bytes on the wire), so the memory of one decoded
 * message comes from a region with a ceiling. The region is freed in one go.
 */
#ifndef LX_RPC_UNPACK_H
#define LX_RPC_UNPACK_H

#include "rpc/rpc.h"

/* Bytes of memory one decoded message may take. */
#define LX_RPC_MAX_UNPACKED (48u << 20)

struct lx_region;

/* {0} is empty. */
struct lx_unpacked {
	ProtobufCMessage *msg;
	struct lx_region *memory; /* private */
};

/*
 * -EINVAL (INVALID_ARGUMENT) for bytes that are no such message, -ENOSPC
 * (RESOURCE_EXHAUSTED) over the budget, -ENOMEM. `u` must be empty.
 */
int lx_rpc_unpack(struct lx_unpacked *u, const ProtobufCMessageDescriptor *type, struct lx_bytes bytes,
		  struct lx_err *err);
void lx_unpacked_release(struct lx_unpacked *u);

#endif
