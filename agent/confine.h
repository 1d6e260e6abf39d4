/*
 * What the agent gives up before it does anything else.
 *
 * Far less than the manager does (lxmgr/confine.h): its workers' children become the monitors of
 * containers, and what is inherited the guests would have. So there is no filter of system calls,
 * no no_new_privs and no limit on core files here; and of its capabilities it gives up those that
 * neither it, nor a worker, CRIU or a program they start needs, and that no guest is given over
 * the machine. A guest in a user namespace of its own has that namespace's full set as before; a
 * privileged one is never given these (profiles/privileged.h).
 *
 * Its memory, in which its key is, goes into no core file and is no other process's to read that
 * may not read everybody's. That ends with execve(2): no worker and no guest inherits it.
 */
#ifndef LX_AGENT_CONFINE_H
#define LX_AGENT_CONFINE_H

#include "lib/err.h"
#include "profiles/capabilities.h"

/* What it gives up, and all that it starts. */
lx_capabilities lx_agent_gives_up(void);

/* Before the first thread is made: capabilities are a thread's own. */
int lx_agent_confine(struct lx_err *err);

#endif
