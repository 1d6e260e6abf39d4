/*
 * Operations and the agents they depend on: calls, and waiting for a node that is away. A
 * broken link leaves open whether the agent has done it, so the operation is parked and its
 * kind is run again when the node is back; agents' calls are idempotent.
 */
#include "lxmgr/operations/engine.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

void lx_op_run(struct lx_op *op)
{
	if (op->m->stopping)
		return; /* the journal has it: the next start goes on */
	op->held = op->inst && op->inst->telling;
	if (op->held)
		return;
	if (op->pb->status == (Lxmgr__V1__OperationStatus)LX_OP_PENDING)
		lx_op_set_status(op, LX_OP_RUNNING);
	op->parked = false;
	lx_op_notify(op);
	op->kind->run(op);
}

void lx_op_go_on(struct lx_op *op)
{
	if (op->held && !op->ending && !lx_op_ended(op))
		lx_op_run(op);
}

static void on_park_timeout(uv_timer_t *t)
{
	struct lx_op *op = t->data;
	if (!op || !op->parked)
		return;
	op->parked = false;
	struct lx_err e = LX_ERR_INIT;
	lx_err_set(&e, LX_UNAVAILABLE, "node %s has been away for %u seconds", op->pb->node,
		   op->m->opt.node_wait_s);
	lx_err_hint(&e, "Start lxagentd on it and try again: lxmgr node list shows when it is back.");
	if (op->kind->away)
		op->kind->away(op, &e);
	else
		lx_op_end(op, &e, NULL, NULL);
}

static uv_timer_t *timer_of(struct lx_op *op)
{
	if (op->timer)
		return op->timer;
	op->timer = malloc(sizeof(*op->timer));
	if (op->timer) {
		uv_timer_init(op->m->loop, op->timer);
		op->timer->data = op;
	}
	return op->timer;
}

static void on_retry(uv_timer_t *t)
{
	struct lx_op *op = t->data;

	if (op && !op->parked && !op->call && !op->ending && !lx_op_ended(op))
		lx_op_run(op);
}

bool lx_op_retry(struct lx_op *op)
{
	if (op->retries >= LX_OP_RETRIES || op->cancelled || !timer_of(op))
		return false;
	op->retries++;
	uv_timer_start(op->timer, on_retry, LX_OP_RETRY_MS, 0);
	return true;
}

void lx_op_park(struct lx_op *op, const char *node, const struct lx_err *why)
{
	struct lx_node *n = lx_map_get(&op->m->nodes, node);

	/* `node` may be the operation's own text, which a set would free. */
	if (node != op->pb->node && lx_pb_set(&op->pb->node, node) == 0)
		node = op->pb->node;
	if (!n) {
		struct lx_err e = LX_ERR_INIT;
		lx_err_set(&e, LX_UNAVAILABLE, "node %s is not part of the cluster any more", node);
		lx_op_end(op, &e, NULL, NULL);
		return;
	}
	op->parked = true;
	lx_debug("operation waits for its node", "operation=%s node=%s why=\"%s\"", op->pb->id, node,
		 why ? why->msg : "");
	lx_op_phase(op, "waiting for node");
	/* Without a timer it still runs when the node is back. */
	if (timer_of(op))
		uv_timer_start(op->timer, on_park_timeout, op->m->opt.node_wait_s * 1000ull, 0);
}

void lx_op_node_ready(struct lx_manager *m, struct lx_node *node)
{
	for (struct lx_map_entry *e = lx_map_first(&m->ops), *next; e; e = next) {
		next = lx_map_next(e);
		struct lx_op *op = lx_map_value(e);
		if (op->parked && !lx_op_ended(op) && lx_streq(op->pb->node, node->pb->name))
			lx_op_run(op);
	}
}

struct agent_call {
	struct lx_op *op;
	lx_op_reply cb;
	char *node;
};

static void on_agent_reply(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct agent_call *c = arg;
	struct lx_op *op = c->op;

	op->call = NULL;
	if (op->ending || lx_op_ended(op)) {
		/* Its node was removed: nobody asks any more. */
		free(c->node);
		free(c);
		return;
	}
	/* The link broke: whether the agent has done it is not known, so it is asked again. */
	if (err->code == LX_UNAVAILABLE && !op->m->stopping)
		lx_op_park(op, c->node, err);
	else if (!op->m->stopping)
		c->cb(op, resp, err);
	free(c->node);
	free(c);
}

void lx_op_agent_call(struct lx_op *op, const char *node, const char *method, const ProtobufCMessage *req,
		      lx_op_reply cb)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_node *n = lx_map_get(&op->m->nodes, node);

	if (!n || !lx_node_online(n)) {
		lx_op_park(op, node, NULL);
		return;
	}
	struct agent_call *c = calloc(1, sizeof(*c));
	if (!c || !(c->node = strdup(node))) {
		free(c);
		lx_err_oom(&err);
		cb(op, NULL, &err);
		return;
	}
	c->op = op;
	c->cb = cb;
	lx_pb_set(&op->pb->node, c->node);
	if (lx_channel_unary(n->channel, &lxmgr__v1__agent_service__descriptor, method, req, NULL,
			     on_agent_reply, c, &op->call, &err) < 0) {
		free(c->node);
		free(c);
		lx_op_park(op, node, &err);
	}
}
