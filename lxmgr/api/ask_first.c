#include "lxmgr/api/ask_first.h"

#include <stdlib.h>

#include "proto/pb.h"

#define TIMEOUT_MS 60000u

struct asked {
	struct lx_manager *m;
	struct lx_call *call; /* NULL: the client has gone */
	ProtobufCMessage *msg;
	lx_turn_handler next;
};

static void asked_free(struct asked *a)
{
	lx_pb_free(a->msg);
	free(a);
}

static void on_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct asked *)arg)->call = NULL;
}

static const struct lx_call_events call_events = { .closed = on_call_closed };

static void on_answer(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct asked *a = arg;

	if (a->call) {
		lx_call_set_events(a->call, NULL, NULL);
		if (err->code == LX_OK)
			a->next(a->call, a->msg, a->m);
		else
			lx_call_fail(a->call, err);
	}
	asked_free(a);
}

void lx_api_ask_first(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg,
		      const struct lx_node *node, const char *method, const ProtobufCMessage *req,
		      lx_turn_handler next)
{
	const struct lx_call_options options = { .timeout_ms = TIMEOUT_MS };
	struct asked *a = calloc(1, sizeof(*a));
	struct lx_err err = LX_ERR_INIT;

	if (!a || !(a->msg = lx_pb_dup(msg))) {
		free(a);
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	a->m = m;
	a->call = call;
	a->next = next;
	lx_call_set_events(call, &call_events, a);
	if (lx_channel_unary(node->channel, &lxmgr__v1__agent_service__descriptor, method, req, &options,
			     on_answer, a, NULL, &err) == 0)
		return;
	lx_call_set_events(call, NULL, NULL);
	lx_call_fail(call, &err);
	asked_free(a);
}
