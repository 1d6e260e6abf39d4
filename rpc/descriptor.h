/*
 * What a google.protobuf.FileDescriptorSet says, as far as reflection asks: which file has
 * a name, which defines a symbol, what a file imports. Read field by field
 * instead of with generated code for descriptor.proto, whose messages are recursive. Pure.
 */
#ifndef LX_RPC_DESCRIPTOR_H
#define LX_RPC_DESCRIPTOR_H

#include "rpc/rpc.h"

/* Imports of one file that are followed. */
#define LX_DESCRIPTOR_MAX_FILES 256u

struct lx_descriptor_set {
	struct lx_bytes *files; /* each a FileDescriptorProto; borrowed from the set */
	size_t n;
};

/* -EINVAL when the bytes are no such set. */
int lx_descriptor_set_parse(struct lx_descriptor_set *set, struct lx_bytes bytes, struct lx_err *err);
void lx_descriptor_set_release(struct lx_descriptor_set *set);

/* The file with that name; -1 when there is none. */
ssize_t lx_descriptor_by_name(const struct lx_descriptor_set *set, const char *name);
/* The file that defines a message, field, enum, value, service or method by its full name. */
ssize_t lx_descriptor_by_symbol(const struct lx_descriptor_set *set, const char *symbol);
/* The file and all it imports, each once, into `out` (LX_DESCRIPTOR_MAX_FILES). Returns how many. */
size_t lx_descriptor_closure(const struct lx_descriptor_set *set, size_t file, size_t *out);

#endif
