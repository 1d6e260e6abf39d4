/* ProjectService: what is not in projects.c. */
#ifndef LX_LXMGR_API_PROJECTS_H
#define LX_LXMGR_API_PROJECTS_H

#include "lxmgr/manager.h"

/* project_delete.c */
void lx_api_project_delete(struct lx_call *call, const ProtobufCMessage *msg, void *manager);

#endif
