/*
 * Whom the kernel ends when memory runs out (oom_score_adj, proc(5)). What is inherited decides, so a daemon
 * that is spared must not start what is not to be.
 *
 * To be spared more takes CAP_SYS_RESOURCE: without it nothing changes, and nobody is told.
 */
#ifndef LX_LIB_OOM_H
#define LX_LIB_OOM_H

#include <sys/types.h>

/* As every process is that nobody has said anything about. */
#define LX_OOM_USUAL 0

/* This process is not taken. */
void lx_oom_spare(void);
/* This one is spared no more than by `most` (lower is more). Returns what it had. */
int lx_oom_spare_less(int most);
/* Back to what lx_oom_spare_less() has returned. */
void lx_oom_set(int adj);
/* What this process has. */
int lx_oom_get(void);

#endif
