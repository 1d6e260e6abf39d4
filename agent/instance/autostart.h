/* Starting instances after their machine has restarted. */
#ifndef LX_AGENT_INSTANCE_AUTOSTART_H
#define LX_AGENT_INSTANCE_AUTOSTART_H

#include "agent/agent.h"

/* Has the machine restarted since an agent last got through lx_autostart_run() here? */
bool lx_autostart_due(const struct lx_agent *a);
/* After a restart: starts what is wanted running. In any case remembers that it was done. */
void lx_autostart_run(struct lx_agent *a);

#endif
