/*
 * The compiled filter of an instance's policy of system calls, kept beside the policy for the next start.
 *
 * A list of what is allowed is a thousand calls into libseccomp, one for each system call of each kind of
 * program, and then an order of all of them: more than all else that confining an instance takes. So what
 * libseccomp made of a policy is kept (<instance>/seccomp.bpf). When the same policy is read again, by the
 * same libseccomp and before the machine has restarted, liblxc's rules are not added, and the kernel gets
 * what is kept: to the instruction what it would have got. What the guest can reach holds neither file.
 *
 * Not for policies with calls that stop (profiles/intercept.h): their filters come with a listener.
 */
#ifndef LX_WORKER_INSTANCE_FILTER_CACHE_H
#define LX_WORKER_INSTANCE_FILTER_CACHE_H

#include <stdbool.h>

#include "agent/worker/instance/job.h"

/*
 * Before liblxc is called, once in a process: what is kept serves if it fits. `keep`: if not, what is made
 * instead is noted. Where that cannot be, the filter is made as ever.
 */
void lx_filter_cache_open(const struct lx_job *job, bool keep);
/*
 * liblxc loads its filter, in the guest's init to be. 1: the kernel has what was kept; 0: `filter` is to be
 * loaded, for it has its rules; else a negative errno, and nothing may run. `log`: the kernel is
 * to tell what it refuses.
 */
int lx_filter_cache_load(void *filter, bool log);
/* After a start: what was noted is written, or, when it has failed, what was kept is thrown away. */
void lx_filter_cache_close(const struct lx_job *job, bool started);

#endif
