/*
 * image.delete: from every node that has it, unless another project has the same one, then from
 * the store. Nobody can launch from it
 * meanwhile (lx_image_is_going). A node that is away keeps its copy; its agent is told
 * when it reports an image the manager does not know (cluster/stray.c).
 */
#include "lxmgr/operations/operation.h"

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

static void forget(struct lx_op *op)
{
	lx_image_forget(op->m, op->pb->project, op->pb->subject);
	lx_event(op->m, "lifecycle", "image-deleted", op->pb->project, op->pb->subject, "", NULL);
}

/* Then nodes keep it. */
static bool others_have(const struct lx_op *op)
{
	for (struct lx_map_entry *e = lx_map_first(&op->m->images); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Image *image = lx_map_value(e);

		if (lx_streq(image->fingerprint, op->pb->subject) &&
		    !lx_same_project(image->project, op->pb->project) && !lx_image_is_going(op->m, image))
			return true;
	}
	return false;
}

static void next_node(struct lx_op *op);

static void on_deleted(struct lx_op *op, const ProtobufCMessage *resp, const struct lx_err *err)
{
	if (err->code != LX_OK && err->code != LX_NOT_FOUND) {
		lx_op_end(op, err, NULL, NULL);
		return;
	}
	lx_image_on_node(op->m, lx_map_get(&op->m->nodes, op->pb->node), op->pb->subject, false);
	next_node(op);
}

static void next_node(struct lx_op *op)
{
	lx_autofree char *key = lx_scoped(op->pb->project, op->pb->subject);
	struct lx_err err = LX_ERR_INIT;

	for (struct lx_map_entry *e = lx_map_first(&op->m->nodes); e && !others_have(op);
	     e = lx_map_next(e)) {
		struct lx_node *n = lx_map_value(e);
		if (!lx_node_online(n) || !lx_map_has(&n->images, op->pb->subject))
			continue;
		Lxmgr__V1__AgentImageRequest req = LXMGR__V1__AGENT_IMAGE_REQUEST__INIT;
		req.operation = op->pb->id;
		req.fingerprint = op->pb->subject;
		lx_op_agent_call(op, n->pb->name, "DeleteImage", &req.base, on_deleted);
		return;
	}
	struct lx_txn *txn = key ? lx_txn_new(NULL) : NULL;
	if (!txn) {
		lx_err_oom(&err);
		lx_op_end(op, &err, NULL, NULL);
		return;
	}
	lx_txn_exec(txn, "DELETE FROM images WHERE fingerprint = ?1");
	lx_txn_text(txn, key);
	lx_op_end(op, NULL, txn, forget);
}

static void delete_run(struct lx_op *op)
{
	op->pb->cancellable = false;
	lx_op_phase(op, "delete");
	next_node(op);
}

const struct lx_op_kind lx_op_image_delete = {
	.name = "image.delete",
	.args = &lxmgr__v1__image_request__descriptor,
	.run = delete_run,
};
