/* Asking the node; see the header. */
#include "lxmgr/api/disk_size.h"

#include "lxmgr/api/ask_first.h"
#include "lxmgr/api/update.h"
#include "profiles/root_disk.h"
#include "proto/pb.h"

static uint64_t size_of(const Lxmgr__V1__Instance *pb)
{
	return lx_root_disk_size(pb->n_expanded_devices, pb->expanded_devices);
}

int lx_api_check_disk_with(const Lxmgr__V1__Instance *pb, struct lx_err *err)
{
	if (!size_of(pb) || !lx_api_is_privileged(pb))
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT,
			   "instance %s is privileged, and its root disk cannot have a size: its root could "
			   "take its files off the account",
			   pb->name);

	lx_err_hint(err, "Launch it unprivileged, or without the option size of its root disk.");
	return r;
}

void lx_api_check_disk_size(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg,
			    const struct lx_inst *inst, const Lxmgr__V1__Instance *changed,
			    lx_turn_handler next)
{
	Lxmgr__V1__AgentCheckDiskSizeRequest req = LXMGR__V1__AGENT_CHECK_DISK_SIZE_REQUEST__INIT;
	const struct lx_node *node = lx_map_get(&m->nodes, inst->pb->node);

	req.name = (char *)(uintptr_t)inst->key;
	req.size_bytes = size_of(changed);
	/* No size can always be had. */
	if (req.size_bytes == 0 || req.size_bytes == size_of(inst->pb)) {
		next(call, msg, m);
		return;
	}
	if (!node || !lx_node_online(node)) {
		struct lx_err err = LX_ERR_INIT;

		lx_err_set(
			&err, LX_UNAVAILABLE,
			"node %s of instance %s is offline: it cannot say whether the size of its root disk "
			"can be changed",
			inst->pb->node, inst->pb->name);
		lx_err_hint(&err, "Set it when the node is back: lxmgr node list");
		lx_call_fail(call, &err);
		return;
	}
	lx_api_ask_first(m, call, msg, node, "CheckDiskSize", &req.base, next);
}
