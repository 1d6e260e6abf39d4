/*
 * Memory that processes share, in place before CRIU restores it: the destination has filled a file of
 * memfd_create(2) with what was copied ahead, and CRIU takes that instead of making one and reading the
 * pages into it. Without this list, or where something does not fit, it does as it always did.
 *
 * The list is a file of these records, in the order of the machine, beside the socket of CRIU's steps
 * (hook_ask.h). It is good while the process lives that has the descriptors.
 */
#ifndef LX_MIGRATION_SHARED_COPIES_H
#define LX_MIGRATION_SHARED_COPIES_H

#include <stdint.h>

#define LX_SHARED_COPIES     "shared-copies"
#define LX_SHARED_COPIES_MAX 64

struct lx_shared_copy {
	uint64_t shmid;    /* CRIU's list of its pages is pagemap-shmem-<shmid>.img */
	uint32_t pages_id; /* and the pages that are in place are those of pages-<pages_id>.img */
	int32_t pid, fd;   /* who has it, as which descriptor */
};

#endif
