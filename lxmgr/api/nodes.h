/* Parts of the node API that live in files of their own. */
#ifndef LX_LXMGR_API_NODES_H
#define LX_LXMGR_API_NODES_H

#include "lxmgr/manager.h"

/* node_update.c */
void lx_api_node_update(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
/* What lasts of it, for the store: a copy (lx_pb_free), NULL when out of memory. */
Lxmgr__V1__Node *lx_api_node_lasting(const struct lx_node *n);
/* In memory; says so to those who watch when it is a change. */
void lx_api_node_set_cordon(struct lx_node *n, bool cordon);
/* node_evacuate.c */
void lx_api_node_evacuate(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
void lx_api_node_restore(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
/* How many instances live on each, into the messages. */
void lx_api_count_instances(struct lx_manager *m);
/* node_address.c */
void lx_api_node_set_address(struct lx_call *call, const ProtobufCMessage *msg, void *manager);

#endif
