/* The instance's streaming methods, and those on files. `agent`: struct lx_agent. */
#ifndef LX_AGENT_INSTANCE_STREAMS_H
#define LX_AGENT_INSTANCE_STREAMS_H

#include "rpc/rpc.h"

void lx_exec_open(struct lx_call *call, void *agent);                                     /* exec.c */
void lx_console_log_call(struct lx_call *call, const ProtobufCMessage *req, void *agent); /* files.c */
void lx_pull_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
void lx_push_open(struct lx_call *call, void *agent); /* push.c */
void lx_delete_file_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);

#endif
