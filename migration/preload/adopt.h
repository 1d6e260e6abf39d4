/* Shared memory that is in place before CRIU restores it (migration/shared_copies.h): see adopt.c. */
#ifndef LX_MIGRATION_PRELOAD_ADOPT_H
#define LX_MIGRATION_PRELOAD_ADOPT_H

/* Before CRIU forks the guest, while it has the rights of the machine's root: puts what there is by. */
void lx_adopt_find(void);
/* CRIU has opened an image, as `fd`. */
void lx_adopt_opened(int fd, const char *name);

#endif
