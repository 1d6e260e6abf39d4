/* Decoding into a region; see unpack.h. */
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>

#include "rpc/unpack.h"

#define REGION_MIN 1024u
#define REGION_MAX (1u << 20)

/* Newest first; allocations come from the first one. */
struct lx_region {
	struct lx_region *next;
	size_t size, used;
	alignas(max_align_t) uint8_t bytes[];
};

struct budget {
	struct lx_region *regions;
	size_t total;     /* bytes in all regions */
	size_t next_size; /* of the next region */
	bool exhausted;
};

static void *region_alloc(void *arg, size_t size)
{
	struct budget *b = arg;
	struct lx_region *r = b->regions;
	size_t room;

	if (size > LX_RPC_MAX_UNPACKED) {
		b->exhausted = true;
		return NULL;
	}
	size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	if (!r || r->size - r->used < size) {
		room = size > b->next_size ? size : b->next_size;
		if (b->total + room > LX_RPC_MAX_UNPACKED) {
			b->exhausted = true;
			return NULL;
		}
		r = malloc(sizeof(*r) + room);
		if (!r)
			return NULL;
		r->next = b->regions;
		r->size = room;
		r->used = 0;
		b->regions = r;
		b->total += room;
		if (b->next_size < REGION_MAX)
			b->next_size *= 2;
	}
	r->used += size;
	return r->bytes + r->used - size;
}

static void region_free(void *arg, void *p)
{
}

void lx_unpacked_release(struct lx_unpacked *u)
{
	struct lx_region *r, *next;

	for (r = u->memory; r; r = next) {
		next = r->next;
		free(r);
	}
	*u = (struct lx_unpacked){ 0 };
}

int lx_rpc_unpack(struct lx_unpacked *u, const ProtobufCMessageDescriptor *type, struct lx_bytes bytes,
		  struct lx_err *err)
{
	struct budget b = { .next_size = bytes.len < REGION_MAX / 2 ? REGION_MIN + bytes.len + bytes.len / 2
								    : REGION_MAX };
	ProtobufCAllocator allocator = { .alloc = region_alloc, .free = region_free, .allocator_data = &b };

	u->msg = protobuf_c_message_unpack(type, &allocator, bytes.len, bytes.data);
	u->memory = b.regions;
	if (u->msg)
		return 0;
	lx_unpacked_release(u);
	if (b.exhausted) {
		lx_err_set(err, LX_RESOURCE_EXHAUSTED, "decoding %s takes more than %u bytes of memory",
			   type->name, LX_RPC_MAX_UNPACKED);
		return -ENOSPC;
	}
	lx_err_set(err, LX_INVALID_ARGUMENT, "%zu bytes are not a valid %s", bytes.len, type->name);
	return -EINVAL;
}
