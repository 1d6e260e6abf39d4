/* Parts of the node API that live in files of their own. */
#ifndef LX_LXMGR_API_NODES_H
#define LX_LXMGR_API_NODES_H

#include "lxmgr/manager.h"

/* node_update.c */
void lx_api_node_update(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
/* How many instances live on each, into the messages. */
void lx_api_count_instances(struct lx_manager *m);
/* node_address.c */
void lx_api_node_set_address(struct lx_call *call, const ProtobufCMessage *msg, void *manager);

#endif
