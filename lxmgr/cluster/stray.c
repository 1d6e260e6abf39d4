/*
 * Images that a node has and the cluster does not know: deleted while the node was away, made
 * by an operation that failed in the end, or finished by a worker when the import they came
 * from had failed already. The node is told to delete them. It refuses for one that instances
 * still use; the next snapshot asks again.
 */
#include "lxmgr/manager.h"

#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/operations/operation.h"
#include "proto/pb.h"

/* An image in the making has no row yet, and its fingerprint is known at the end only. */
static bool is_making_images(struct lx_manager *m, const struct lx_node *n)
{
	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e)) {
		const struct lx_op *op = lx_map_value(e);
		if (op->kind && op->kind->makes_images && !lx_op_ended(op) &&
		    lx_streq(op->pb->node, n->pb->name))
			return true;
	}
	return false;
}

static void on_deleted(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	if (err->code != LX_OK && err->code != LX_NOT_FOUND)
		lx_warn("image that the cluster does not know stays on its node", "error=\"%s\"", err->msg);
}

static void drop(struct lx_node *n, const char *fingerprint)
{
	Lxmgr__V1__AgentImageRequest req = LXMGR__V1__AGENT_IMAGE_REQUEST__INIT;
	struct lx_err err = LX_ERR_INIT;

	lx_info("node has an image that the cluster does not know: deleting it", "node=%s image=%.12s",
		n->pb->name, fingerprint);
	req.fingerprint = (char *)(uintptr_t)fingerprint;
	if (lx_channel_unary(n->channel, &lxmgr__v1__agent_service__descriptor, "DeleteImage", &req.base,
			     NULL, on_deleted, NULL, NULL, &err) < 0)
		on_deleted(NULL, &err, NULL);
}

void lx_node_drop_stray_images(struct lx_node *n)
{
	if (!lx_node_online(n) || is_making_images(n->m, n))
		return;
	for (struct lx_map_entry *e = lx_map_first(&n->images); e; e = lx_map_next(e))
		if (!lx_image_any(n->m, lx_map_key(e)))
			drop(n, lx_map_key(e));
}
