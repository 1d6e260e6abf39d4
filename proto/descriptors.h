/* The compiled .proto files (a google.protobuf.FileDescriptorSet), for server reflection. */
#ifndef LX_PROTO_DESCRIPTORS_H
#define LX_PROTO_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

/* Static storage. */
const uint8_t *lx_proto_descriptors(size_t *len);

#endif
