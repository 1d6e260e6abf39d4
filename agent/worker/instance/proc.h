/* Processes, told apart from later ones with the same number by when they started. */
#ifndef LX_WORKER_PROC_H
#define LX_WORKER_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Start time (clock ticks since boot) and parent; both may be NULL. 0, or -ESRCH; a zombie is gone too. */
int lx_proc_stat(pid_t pid, uint64_t *ret_start, pid_t *ret_parent);
bool lx_proc_is(pid_t pid, uint64_t start);
/* Is this the liblxc monitor of that container? */
bool lx_proc_is_monitor(pid_t pid, const char *lxc_path, const char *name);
/* A child of `pid`, the first one; 0: none. */
pid_t lx_proc_child(pid_t pid);

/* A descriptor for exactly that process, or -ESRCH when it has gone. */
int lx_proc_open(pid_t pid, uint64_t start);
int lx_proc_signal(int pidfd, int sig);
/* Until it has exited. 0, or -ETIMEDOUT; a negative time-out waits forever. */
int lx_proc_wait(int pidfd, int timeout_ms);

#endif
