/*
 * A node gets an image from other nodes: as a step of operations that need it there, and as
 * image.fetch, an operation of its own.
 *
 *   node has it ------------------------------------------------> next
 *   node away, or all that have the image are: parked, run again when one is back
 *   agent FetchImage(sources) --image--> next
 *        |  the sources failed: LX_OP_RETRIES times again, from what is online then
 *        +--error--> next
 *
 * Nothing is kept: run again, by a restart of the manager or a node that is back, it looks
 * anew. The agent makes one transfer of several calls, and knows images it has already.
 */
#include "lxmgr/operations/engine.h"

#include <stdlib.h>
#include <string.h>

#include "images/ref.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

#define PHASE "fetch image"
/* As many as an agent takes. */
#define MAX_SOURCES 64u

struct need {
	struct lx_op *op;
	char *node;
	char *fingerprint;
	bool got; /* the agent has said so */
	void (*next)(struct lx_op *op, const struct lx_err *err);
};

static void need_free(struct need *n)
{
	if (!n)
		return;
	free(n->node);
	free(n->fingerprint);
	free(n);
}

static bool is_source(const struct lx_node *n, const struct lx_node *target, const char *fingerprint)
{
	return n != target && lx_node_online(n) && lx_map_has(&n->images, fingerprint);
}

bool lx_image_available(const struct lx_manager *m, const struct lx_node *node, const char *fingerprint)
{
	if (lx_map_has(&node->images, fingerprint))
		return true;
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e))
		if (is_source(lx_map_value(e), node, fingerprint))
			return true;
	return false;
}

/* One that is away and has it, or may have it: nobody has asked it since the manager started. */
static const struct lx_node *who_may_have(const struct lx_manager *m, const char *fingerprint)
{
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e)) {
		const struct lx_node *n = lx_map_value(e);
		if (!lx_node_online(n) && (!n->reported || lx_map_has(&n->images, fingerprint)))
			return n;
	}
	return NULL;
}

/* ------------------------------------------------------------------ the call */

static void on_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentImageProgress *p = (const void *)msg;
	struct need *need = arg;
	struct lx_op *op = need->op;

	if (op->ending || lx_op_ended(op))
		return;
	if (p->what_case == LXMGR__V1__AGENT_IMAGE_PROGRESS__WHAT_PROGRESS)
		lx_op_progress(op, lx_streq(p->progress->phase, PHASE) ? PHASE : "verify image",
			       p->progress->done, p->progress->total, p->progress->unit);
	else if (p->what_case == LXMGR__V1__AGENT_IMAGE_PROGRESS__WHAT_IMAGE)
		need->got = lx_streq(p->image->fingerprint, need->fingerprint);
}

static void explain(struct lx_err *err, const struct need *need)
{
	if (err->code == LX_OK)
		lx_err_set(err, LX_INTERNAL, "node %s ended without the image %.12s", need->node,
			   need->fingerprint);
	if (err->code == LX_UNIMPLEMENTED) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "the agent of node %s is too old to fetch images",
			   need->node);
		lx_err_hint(err,
			    "Update lxagentd there, or choose a node that has the image: "
			    "lxmgr image show %.12s lists them.",
			    need->fingerprint);
	}
}

static void on_closed(struct lx_call *call, const struct lx_err *cause, void *arg)
{
	struct need *need = arg;
	struct lx_op *op = need->op;
	struct lx_err err = *cause;

	op->call = NULL;
	if (op->ending || lx_op_ended(op) || op->m->stopping) {
		/* Its node was removed, or the next start goes on. */
	} else if (err.code == LX_OK && need->got) {
		lx_image_on_node(op->m, lx_map_get(&op->m->nodes, need->node), need->fingerprint, true);
		need->next(op, &err);
	} else if (err.code == LX_UNAVAILABLE && !op->cancelled) {
		lx_op_park(op, need->node, &err);
	} else if (err.code == LX_ABORTED && lx_op_retry(op)) {
		lx_info("an image could not be fetched, trying again", "operation=%s error=\"%s\"",
			op->pb->id, err.msg);
		lx_op_phase(op, PHASE);
	} else {
		explain(&err, need);
		need->next(op, &err);
	}
	need_free(need);
}

static const struct lx_call_events events = { .message = on_message, .closed = on_closed };

/* ------------------------------------------------------------------ the request */

static void release_sources(Lxmgr__V1__AgentFetchImageRequest *req)
{
	for (size_t i = 0; i < req->n_sources; i++)
		free(req->sources[i]);
	free(req->sources);
}

/* Names and addresses are borrowed. */
static int add_source(Lxmgr__V1__AgentFetchImageRequest *req, const struct lx_node *n)
{
	Lxmgr__V1__ImageSource *s = malloc(sizeof(*s));

	if (!s)
		return -1;
	lxmgr__v1__image_source__init(s);
	s->node = n->pb->name;
	s->address = n->pb->address;
	req->sources[req->n_sources++] = s;
	return 0;
}

static int list_sources(Lxmgr__V1__AgentFetchImageRequest *req, const struct lx_manager *m,
			const struct lx_node *target, const char *fingerprint)
{
	req->sources = calloc(MAX_SOURCES, sizeof(*req->sources));
	if (!req->sources)
		return -1;
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e && req->n_sources < MAX_SOURCES;
	     e = lx_map_next(e))
		if (is_source(lx_map_value(e), target, fingerprint) && add_source(req, lx_map_value(e)) < 0)
			return -1;
	return 0;
}

static int call_agent(struct need *need, struct lx_node *node, Lxmgr__V1__AgentFetchImageRequest *req,
		      struct lx_err *err)
{
	struct lx_op *op = need->op;

	req->operation = op->pb->id;
	req->fingerprint = need->fingerprint;
	lx_op_phase(op, PHASE);
	int r = lx_channel_stream(node->channel, &lxmgr__v1__agent_service__descriptor, "FetchImage", NULL,
				  &events, need, &op->call, err);

	if (r < 0)
		return r;
	lx_call_send(op->call, &req->base);
	lx_call_half_close(op->call);
	return 0;
}

static int check(const struct lx_manager *m, const char *fingerprint, struct lx_err *err)
{
	const Lxmgr__V1__Image *image = lx_image_any(m, fingerprint);

	if (image && !lx_image_is_going(m, image))
		return 0;
	return lx_err_set(err, LX_FAILED_PRECONDITION, "image %.12s %s", fingerprint,
			  image ? "is being deleted" : "was deleted");
}

/* 0: under way or parked. */
static int fetch(struct lx_op *op, struct lx_node *node, const char *fingerprint,
		 void (*next)(struct lx_op *op, const struct lx_err *err), struct lx_err *err)
{
	Lxmgr__V1__AgentFetchImageRequest req = LXMGR__V1__AGENT_FETCH_IMAGE_REQUEST__INIT;
	struct need *need;
	int r = check(op->m, fingerprint, err);

	if (r < 0)
		return r;
	if (list_sources(&req, op->m, node, fingerprint) < 0) {
		release_sources(&req);
		return lx_err_oom(err);
	}
	if (req.n_sources == 0) {
		const struct lx_node *away = who_may_have(op->m, fingerprint);

		release_sources(&req);
		if (away) {
			lx_op_park(op, away->pb->name, NULL);
			return 0;
		}
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "no node has image %.12s", fingerprint);
		lx_err_hint(err, "Import or build it again.");
		return r;
	}
	need = calloc(1, sizeof(*need));
	if (need) {
		*need = (struct need){ .op = op, .next = next };
		need->node = strdup(node->pb->name);
		need->fingerprint = strdup(fingerprint);
	}
	if (!need || !need->node || !need->fingerprint)
		r = lx_err_oom(err);
	else if (lx_pb_set(&op->pb->node, need->node) == 0 && call_agent(need, node, &req, err) == 0)
		need = NULL; /* the call's */
	else
		lx_op_park(op, need->node, err);
	need_free(need);
	release_sources(&req);
	return r;
}

void lx_op_need_image(struct lx_op *op, struct lx_node *node, const char *fingerprint,
		      void (*next)(struct lx_op *op, const struct lx_err *err))
{
	struct lx_err err = LX_ERR_INIT;

	if (!lx_node_online(node))
		lx_op_park(op, node->pb->name, NULL);
	else if (lx_map_has(&node->images, fingerprint) || fetch(op, node, fingerprint, next, &err) < 0)
		next(op, &err);
}

void lx_op_cancel_fetch(struct lx_op *op)
{
	if (op->call)
		lx_call_cancel(op->call);
	else
		lx_op_run(op); /* it waits: its run() looks at `cancelled` */
}

/* ------------------------------------------------------------------ image.fetch */

static void on_there(struct lx_op *op, const struct lx_err *err)
{
	if (err->code == LX_OK)
		lx_op_result(op, "fingerprint", op->pb->subject);
	lx_op_end(op, err, NULL, NULL);
}

static void fetch_run(struct lx_op *op)
{
	const Lxmgr__V1__FetchImageRequest *args = (void *)op->args;
	struct lx_node *node = lx_map_get(&op->m->nodes, args->node);
	struct lx_err err = LX_ERR_INIT;

	if (op->cancelled)
		lx_err_set(&err, LX_CANCELLED, "cancelled");
	else if (!node)
		lx_err_set(&err, LX_UNAVAILABLE, "node %s is not part of the cluster any more", args->node);
	if (err.code != LX_OK)
		lx_op_end(op, &err, NULL, NULL);
	else
		lx_op_need_image(op, node, op->pb->subject, on_there);
}

const struct lx_op_kind lx_op_image_fetch = {
	.name = "image.fetch",
	.args = &lxmgr__v1__fetch_image_request__descriptor,
	.run = fetch_run,
	.cancel = lx_op_cancel_fetch,
};
