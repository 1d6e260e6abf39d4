/* LX_DESCRIPTOR_SET is the path of protoc's --descriptor_set_out, given by the Makefile. */
#include "proto/descriptors.h"

__asm__(".section .rodata\n"
	".global lx_descriptors_start\n"
	".global lx_descriptors_end\n"
	"lx_descriptors_start:\n"
	".incbin \"" LX_DESCRIPTOR_SET "\"\n"
	"lx_descriptors_end:\n"
	".byte 0\n"
	".previous\n");

extern const uint8_t lx_descriptors_start[] __attribute__((visibility("hidden")));
extern const uint8_t lx_descriptors_end[] __attribute__((visibility("hidden")));

const uint8_t *lx_proto_descriptors(size_t *len)
{
	*len = (size_t)(lx_descriptors_end - lx_descriptors_start);
	return lx_descriptors_start;
}
