/* Parts of the node API that live in files of their own. */
#ifndef LX_LXMGR_API_NODES_H
#define LX_LXMGR_API_NODES_H

#include "lxmgr/manager.h"

/* node_address.c */
void lx_api_node_set_address(struct lx_call *call, const ProtobufCMessage *msg, void *manager);

#endif
