#ifndef LX_MIGRATION_SOCKETS_H
#define LX_MIGRATION_SOCKETS_H
#include <stddef.h>
#include <sys/types.h>
#include "lib/err.h"
int lx_sockets_mend(const pid_t *pids, size_t n, unsigned *ret_mended, struct lx_err *err);
int lx_net_unlock(pid_t pid, struct lx_err *err);
int lx_sockets_count(pid_t pid, unsigned *ret_established, struct lx_err *err);
#endif
