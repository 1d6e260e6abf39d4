/*
 * image.build: a node makes an image from a distribution's packages and reports progress on
 * a stream; the image is then remembered with its aliases. Run again after a restart, the
 * node starts over (its half-made tree is swept).
 */
#include "lxmgr/operations/operation.h"

#include "lib/str.h"
#include "proto/pb.h"

static void on_remembered(Lxmgr__V1__Image *image, const struct lx_err *err, void *arg)
{
	struct lx_op *op = arg;
	if (image)
		lx_op_result(op, "fingerprint", image->fingerprint);
	lx_op_end(op, err, NULL, NULL);
}

static void on_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_op *op = arg;
	const Lxmgr__V1__AgentImageProgress *p = (const void *)msg;

	if (p->what_case == LXMGR__V1__AGENT_IMAGE_PROGRESS__WHAT_PROGRESS) {
		lx_op_progress(op, p->progress->phase, p->progress->done, p->progress->total,
			       p->progress->unit);
	} else if (p->what_case == LXMGR__V1__AGENT_IMAGE_PROGRESS__WHAT_IMAGE && !op->data) {
		/* Kept until the call has closed: only then is it a success. */
		op->data = LX_PB_DUP(Lxmgr__V1__Image, p->image);
	}
}

static void on_closed(struct lx_call *call, const struct lx_err *cause, void *arg)
{
	struct lx_op *op = arg;
	struct lx_err err = *cause;
	Lxmgr__V1__Image *image = op->data;

	op->data = NULL;
	op->call = NULL;
	if (op->m->stopping) {
		lx_pb_free(image);
		return;
	}
	if (err.code == LX_UNAVAILABLE && !op->cancelled) {
		lx_op_park(op, op->pb->node, &err);
	} else if (err.code != LX_OK) {
		lx_op_end(op, &err, NULL, NULL);
	} else if (!image) {
		lx_err_set(&err, LX_INTERNAL, "node %s ended the build of %s without an image", op->pb->node,
			   op->pb->subject);
		lx_op_end(op, &err, NULL, NULL);
	} else {
		const Lxmgr__V1__BuildImageRequest *args = (void *)op->args;
		lx_image_on_node(op->m, lx_map_get(&op->m->nodes, op->pb->node), image->fingerprint, true);
		char *alias = args->template_;
		/* A finished build takes its names over from the one before. */
		if (lx_image_add(op->m, op->pb->project, image, args->n_aliases ? args->n_aliases : 1,
				 args->n_aliases ? args->aliases : &alias, true, on_remembered, op, &err) < 0)
			lx_op_end(op, &err, NULL, NULL);
	}
	lx_pb_free(image);
}

static const struct lx_call_events events = { .message = on_message, .closed = on_closed };

static void build_run(struct lx_op *op)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_node *n = lx_map_get(&op->m->nodes, op->pb->node);

	if (!n || !lx_node_online(n)) {
		lx_op_park(op, op->pb->node, NULL);
		return;
	}
	lx_op_phase(op, "build");
	if (lx_channel_stream(n->channel, &lxmgr__v1__agent_service__descriptor, "BuildImage", NULL, &events,
			      op, &op->call, &err) < 0) {
		lx_op_park(op, op->pb->node, &err);
		return;
	}
	Lxmgr__V1__AgentBuildImageRequest req = LXMGR__V1__AGENT_BUILD_IMAGE_REQUEST__INIT;
	req.operation = op->pb->id;
	req.build = (Lxmgr__V1__BuildImageRequest *)(void *)op->args;
	lx_call_send(op->call, &req.base);
	lx_call_half_close(op->call);
}

static void build_cancel(struct lx_op *op)
{
	if (op->call)
		lx_call_cancel(op->call);
}

const struct lx_op_kind lx_op_image_build = {
	.name = "image.build",
	.args = &lxmgr__v1__build_image_request__descriptor,
	.run = build_run,
	.cancel = build_cancel,
	.makes_images = true,
};
