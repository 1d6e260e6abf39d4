/* Shared memory that is in place before CRIU restores it (migration/shared_copies.h): see adopt.c. */
#ifndef LX_MIGRATION_PRELOAD_ADOPT_H
#define LX_MIGRATION_PRELOAD_ADOPT_H

#include <stddef.h>
#include <sys/types.h>

/* Before CRIU forks the guest, while it has the rights of the machine's root: puts what there is by. */
void lx_adopt_find(void);
/* CRIU has opened an image, as `fd`. */
void lx_adopt_opened(int fd, const char *name);
/* CRIU has called mmap(2), and got `at`. */
void lx_adopt_mapped(int fd, void *at, size_t len, int flags, off64_t offset);

#endif
