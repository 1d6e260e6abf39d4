/* A descriptor that goes along with some bytes over a unix socket (SCM_RIGHTS, unix(7)). */
#ifndef LX_LIB_FD_PASS_H
#define LX_LIB_FD_PASS_H

#include <stddef.h>
#include <sys/types.h>

/* `fd` stays the caller's; -1: the bytes alone. 0 or a negative errno. `len` is at least 1. */
int lx_fd_send(int sock, const void *data, size_t len, int fd);
/*
 * One message, at most `len` bytes of it. Returns how many (0: the other end is closed) or a
 * negative errno. *ret_fd is the caller's, close-on-exec; -1: none came.
 */
ssize_t lx_fd_recv(int sock, void *data, size_t len, int *ret_fd);

#endif
