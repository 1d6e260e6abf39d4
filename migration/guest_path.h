/* Files of a guest, by the paths that it knows them by. */
#ifndef LX_MIGRATION_GUEST_PATH_H
#define LX_MIGRATION_GUEST_PATH_H

#include <sys/types.h>

/*
 * Opens `path` as init of the guest would, without following a symbolic link anywhere (openat2(2)). A
 * descriptor (O_CLOEXEC), or a negative errno.
 */
int lx_guest_open(pid_t init, const char *path, int flags);

#endif
