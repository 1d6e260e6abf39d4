/* What an instance's own files take on this node's disk. */
#ifndef LX_AGENT_INSTANCE_DISK_H
#define LX_AGENT_INSTANCE_DISK_H

#include "agent/instance/instance.h"
#include "agent/worker/disk_quota.h"

/* Its account as the file system has it, which waits for nothing; all 0 when it is not counted. */
void lx_disk_sample(const struct lx_instance *inst, Lxmgr__V1__InstanceUsage *ret);

/* AgentService.CheckDiskSize. */
void lx_disk_check_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg);

#endif
