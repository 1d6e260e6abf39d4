/*
 * ImageService.Import: the client's bytes go through to a node while an operation shows how
 * far it is.
 *
 *   client --start--> check, operation journalled --> node ImportImage --image--> store --> client
 *
 * The client hears of every change of the operation, first that there is one, and last its
 * end. The upload is part of the operation: when the client, the node or the manager goes away
 * in the middle, the operation fails and the node drops what it had received.
 */
#include "lxmgr/api/images.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/api/accept.h"
#include "lxmgr/auth/audit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/quota.h"
#include "proto/pb.h"

/* One upload: the client's call, the node's call and the operation each end in their own time;
 * it is freed when all three have. */
struct import {
	struct lx_manager *m;
	struct lx_call *client;
	struct lx_call *agent;
	struct lx_op *op;
	struct lx_op_watcher w;
	Lxmgr__V1__Image *image; /* from the node, to be remembered when its call has closed well */
	bool begun;
	bool client_done; /* half-closed */
	bool client_full; /* it does not read what it is told */
	bool remembering;
};

static void maybe_free(struct import *im)
{
	if (im->client || im->agent || im->op || im->remembering)
		return;
	lx_pb_free(im->image);
	free(im);
}

/* ------------------------------------------------------------------ what the client hears */

static void send_progress(struct import *im)
{
	Lxmgr__V1__ImportImageResponse resp = LXMGR__V1__IMPORT_IMAGE_RESPONSE__INIT;

	if (!im->client || im->client_full)
		return;
	resp.what_case = LXMGR__V1__IMPORT_IMAGE_RESPONSE__WHAT_PROGRESS;
	resp.progress = im->op->pb;
	im->client_full = lx_call_send(im->client, &resp.base) == 1;
}

static void send_end(struct import *im)
{
	const Lxmgr__V1__Operation *pb = im->op->pb;
	Lxmgr__V1__ImportImageResponse resp = LXMGR__V1__IMPORT_IMAGE_RESPONSE__INIT;
	const char *fingerprint = lx_pb_map_get(pb->n_result, pb->result, "fingerprint");
	struct lx_err err = LX_ERR_INIT;

	if (!im->client)
		return;
	if (pb->status != LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_SUCCESS) {
		lx_err_set(&err, (enum lx_code)pb->error_code, "%s", pb->error);
		lx_err_hint(&err, "%s", pb->hint);
	} else if (!fingerprint || !(resp.image = lx_image_get(im->m, pb->project, fingerprint))) {
		lx_err_set(&err, LX_NOT_FOUND, "the image was deleted meanwhile");
	} else {
		resp.what_case = LXMGR__V1__IMPORT_IMAGE_RESPONSE__WHAT_IMAGE;
		lx_call_send(im->client, &resp.base);
	}
	lx_call_fail(im->client, &err);
}

static void op_changed(struct lx_op *op, void *arg)
{
	struct import *im = arg;

	if (!lx_op_ended(op)) {
		send_progress(im);
		return;
	}
	send_end(im);
	lx_op_unwatch(&im->w);
	im->op = NULL;
	if (im->agent)
		lx_call_cancel(im->agent);
	maybe_free(im);
}

/* The manager stops: the journal has the operation, the next start ends it. */
static void leave_op(struct import *im)
{
	lx_op_unwatch(&im->w);
	im->op = NULL;
	maybe_free(im);
}

/* ------------------------------------------------------------------ the node's side */

static void on_remembered(Lxmgr__V1__Image *image, const struct lx_err *err, void *arg)
{
	struct import *im = arg;

	im->remembering = false;
	if (im->op && image)
		lx_op_result(im->op, "fingerprint", image->fingerprint);
	if (im->op)
		lx_op_end(im->op, err, NULL, NULL);
	else
		maybe_free(im);
}

static void agent_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct import *im = arg;
	const Lxmgr__V1__AgentImageProgress *p = (const void *)msg;

	if (p->what_case == LXMGR__V1__AGENT_IMAGE_PROGRESS__WHAT_PROGRESS && im->op)
		lx_op_progress(im->op, p->progress->phase, p->progress->done, p->progress->total,
			       p->progress->unit);
	else if (p->what_case == LXMGR__V1__AGENT_IMAGE_PROGRESS__WHAT_IMAGE && !im->image)
		im->image = LX_PB_DUP(Lxmgr__V1__Image, p->image);
}

static void agent_writable(struct lx_call *call, void *arg)
{
	struct import *im = arg;
	if (im->client)
		lx_call_resume(im->client);
}

/* The node has made the image: it is remembered under its names. */
static int remember(struct import *im, struct lx_err *err)
{
	const Lxmgr__V1__ImportImageStart *start = (void *)im->op->args;
	const char *node = im->op->pb->node;

	if (!im->image)
		return lx_err_set(err, LX_INTERNAL, "node %s ended the import without an image", node);
	lx_image_on_node(im->m, lx_map_get(&im->m->nodes, node), im->image->fingerprint, true);
	int r = lx_image_add(im->m, im->op->pb->project, im->image, start->n_aliases, start->aliases,
			     start->move_aliases, on_remembered, im, err);
	im->remembering = r == 0;
	return r;
}

static void agent_closed(struct lx_call *call, const struct lx_err *cause, void *arg)
{
	struct import *im = arg;
	struct lx_err err = *cause;

	im->agent = NULL;
	if (!im->op)
		maybe_free(im);
	else if (im->m->stopping)
		leave_op(im);
	else if (err.code != LX_OK || remember(im, &err) < 0)
		lx_op_end(im->op, &err, NULL, NULL);
}

static const struct lx_call_events agent_events = {
	.message = agent_message,
	.writable = agent_writable,
	.closed = agent_closed,
};

/* ------------------------------------------------------------------ the operation's side */

static void import_run(struct lx_op *op)
{
	struct import *im = *(struct import **)op->data;
	struct lx_err err = LX_ERR_INIT;
	struct lx_node *n = lx_map_get(&op->m->nodes, op->pb->node);

	if (!im->client) {
		lx_err_set(&err, LX_CANCELLED, "the client went away");
	} else if (!n || !lx_node_online(n)) {
		lx_err_set(&err, LX_UNAVAILABLE, "node %s went away", op->pb->node);
	} else if (lx_channel_stream(n->channel, &lxmgr__v1__agent_service__descriptor, "ImportImage", NULL,
				     &agent_events, im, &im->agent, &err) == 0) {
		Lxmgr__V1__ImportImageRequest first = LXMGR__V1__IMPORT_IMAGE_REQUEST__INIT;
		first.what_case = LXMGR__V1__IMPORT_IMAGE_REQUEST__WHAT_START;
		first.start = (Lxmgr__V1__ImportImageStart *)(void *)op->args;
		lx_call_send(im->agent, &first.base);
		if (im->client_done)
			lx_call_half_close(im->agent);
		lx_call_resume(im->client);
		lx_op_phase(op, "receive");
		return;
	}
	lx_op_end(op, &err, NULL, NULL);
}

static void import_cancel(struct lx_op *op)
{
	struct import *im = op->data ? *(struct import **)op->data : NULL;
	if (im && im->agent)
		lx_call_cancel(im->agent);
}

const struct lx_op_kind lx_op_image_import = {
	.name = "image.import",
	.args = &lxmgr__v1__import_image_start__descriptor,
	.run = import_run,
	.cancel = import_cancel,
	.needs_client = true,
	.makes_images = true,
};

/* ------------------------------------------------------------------ the client's side */

static int begin(struct import *im, const Lxmgr__V1__ImportImageStart *start, struct lx_err *err)
{
	const char *project = lx_call_project(im->client);
	const struct lx_op *known;
	struct lx_op *op;
	struct import **slot;

	if (strlen(start->request_id) > LX_REQUEST_ID_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the request id is longer than %u bytes",
				  LX_REQUEST_ID_MAX);
	known = lx_map_get(&im->m->ops_by_request, start->request_id);
	if (known && !lx_streq(known->pb->project, project))
		return lx_err_set(err, LX_ALREADY_EXISTS, "request id %s stands for another request",
				  start->request_id);
	if (known)
		return lx_err_set(err, LX_ALREADY_EXISTS, "this upload was already made (operation %s)",
				  known->pb->id);
	if (start->n_aliases > MAX_ALIASES)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "more than %u aliases", MAX_ALIASES);
	int r = lx_image_check_aliases(im->m, project, start->n_aliases, start->aliases, start->move_aliases,
				       err);
	if (r < 0 || (r = lx_project_room(im->m, project, LX_QUOTA_IMAGES, err)) < 0 ||
	    (r = lx_api_check_properties(start->n_properties, start->properties, err)) < 0)
		return r;
	struct lx_node *node = lx_place(im->m, NULL, start->node, err);
	if (!node)
		return lx_code_errno(err->code);
	op = lx_op_new(im->m, &lx_op_image_import, project, start->n_aliases ? start->aliases[0] : "image",
		       &start->base, start->request_id, lx_call_peer(im->client), err);
	if (!op)
		return lx_code_errno(err->code);
	slot = malloc(sizeof(struct import *));
	if (!slot || lx_pb_set(&op->pb->node, node->pb->name) < 0) {
		free(slot);
		lx_op_free(op);
		return lx_err_oom(err);
	}
	*slot = im;
	op->data = slot;
	struct lx_txn *txn = lx_txn_new(op->pb->id);

	if (!txn) {
		lx_op_free(op);
		return lx_err_oom(err);
	}
	lx_audit_into(im->m, im->client, txn);
	r = lx_op_accept(op, txn, NULL, NULL, err);
	if (r < 0) {
		lx_audit_failed(im->client);
		return r;
	}
	im->op = op;
	lx_op_watch(op, &im->w);
	return 0;
}

static void client_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct import *im = arg;
	const Lxmgr__V1__ImportImageRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;

	if (!im->begun) {
		im->begun = true;
		if (req->what_case != LXMGR__V1__IMPORT_IMAGE_REQUEST__WHAT_START)
			lx_err_set(&err, LX_INVALID_ARGUMENT, "an import begins with a start message");
		else
			lx_audit_message(im->m, call, &req->start->base);
		if (err.code == LX_OK)
			begin(im, req->start, &err);
		if (err.code != LX_OK)
			lx_call_fail(call, &err);
		else
			lx_call_pause(call); /* until the node is ready for the bytes */
		return;
	}
	if (req->what_case == LXMGR__V1__IMPORT_IMAGE_REQUEST__WHAT_START) {
		lx_call_failf(call, LX_INVALID_ARGUMENT, "an import has one start message only");
		return;
	}
	if (im->agent && lx_call_send(im->agent, msg) == 1)
		lx_call_pause(call);
}

static void client_half_closed(struct lx_call *call, void *arg)
{
	struct import *im = arg;
	im->client_done = true;
	if (im->agent)
		lx_call_half_close(im->agent);
	else if (!im->begun)
		lx_call_failf(call, LX_INVALID_ARGUMENT, "an import begins with a start message");
}

static void client_writable(struct lx_call *call, void *arg)
{
	struct import *im = arg;
	im->client_full = false;
	if (im->op)
		send_progress(im);
}

static void client_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct import *im = arg;
	im->client = NULL;
	/* Uploads without their client are over, unless all bytes are in. */
	if (im->agent && !im->client_done)
		lx_call_cancel(im->agent);
	if (im->op && !im->agent && im->m->stopping)
		leave_op(im);
	else
		maybe_free(im);
}

static const struct lx_call_events client_events = {
	.message = client_message,
	.half_closed = client_half_closed,
	.writable = client_writable,
	.closed = client_closed,
};

void lx_api_image_import(struct lx_call *call, void *manager)
{
	struct import *im = calloc(1, sizeof(*im));
	if (!im) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	im->m = manager;
	im->client = call;
	im->w.changed = op_changed;
	im->w.arg = im;
	lx_call_set_events(call, &client_events, im);
}
