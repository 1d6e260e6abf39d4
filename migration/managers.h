/*
 * Managers of services in a guest that was restored: systemd, the system's and the users'.
 *
 * Since version 257 it keeps of each process not only the number and a pidfd but also the number that the
 * pidfd has in pidfs (Linux 6.9, fs/pidfs.c), which is another one for each process that ever was. A
 * process that was restored is a new one to the kernel. So its messages are not taken for its unit's any
 * more: watchdogs run out, of logind, journald and networkd among others, and after three minutes they are
 * killed. A reload, for which it takes SIGHUP (systemd(1)), has it ask for these numbers anew.
 */
#ifndef LX_MIGRATION_MANAGERS_H
#define LX_MIGRATION_MANAGERS_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Of these processes those that are systemd and have pidfds are told to reload; none where the kernel has no
 * pidfs. Best while they are still frozen: it is the first that they hear. Returns how many.
 */
unsigned lx_managers_reload(const pid_t *pids, size_t n);

#endif
