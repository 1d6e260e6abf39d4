/* Parts of the instance API that live in files of their own. */
#ifndef LX_LXMGR_API_INSTANCES_H
#define LX_LXMGR_API_INSTANCES_H

#include "lxmgr/manager.h"

#define MAX_PROFILES_PER_INSTANCE 32u

/* instance_create.c, instance_action.c, instance_list.c, instance_update.c */
void lx_api_instance_create(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
void lx_api_instance_explain(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
void lx_api_instance_start(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
void lx_api_instance_stop(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
void lx_api_instance_restart(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
void lx_api_instance_freeze(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
void lx_api_instance_unfreeze(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
void lx_api_instance_delete(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
void lx_api_instance_list(struct lx_call *call, const ProtobufCMessage *msg, void *manager);
void lx_api_instance_update(struct lx_call *call, const ProtobufCMessage *msg, void *manager);

/* streams.c: passed on to the instance's agent. */
void lx_api_exec(struct lx_call *call, void *manager);
void lx_api_console_log(struct lx_call *call, void *manager);
void lx_api_push_file(struct lx_call *call, void *manager);
void lx_api_pull_file(struct lx_call *call, void *manager);
void lx_api_delete_file(struct lx_call *call, void *manager);

#endif
