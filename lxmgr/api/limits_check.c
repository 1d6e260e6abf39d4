/* Asking the nodes; see the header. */
#include "lxmgr/api/limits_check.h"

#include <stdlib.h>

#include "lib/str.h"
#include "profiles/profiles.h"
#include "proto/pb.h"

#define TIMEOUT_MS 10000u

struct asked {
	struct lx_manager *m;
	struct lx_call *call; /* NULL: the client has gone */
	ProtobufCMessage *msg;
	lx_turn_handler next;
	size_t waiting; /* answers, and one while they are asked */
	struct lx_err err;
};

static void on_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct asked *)arg)->call = NULL;
}

static const struct lx_call_events call_events = { .closed = on_call_closed };

static void answered(struct asked *a)
{
	if (--a->waiting)
		return;
	if (a->call) {
		lx_call_set_events(a->call, NULL, NULL);
		if (a->err.code == LX_OK)
			a->next(a->call, a->msg, a->m);
		else
			lx_call_fail(a->call, &a->err);
	}
	lx_pb_free(a->msg);
	free(a);
}

static void on_answer(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct asked *a = arg;
	bool no = err->code == LX_FAILED_PRECONDITION || err->code == LX_INVALID_ARGUMENT;

	if (no && a->err.code == LX_OK)
		a->err = *err;
	answered(a);
}

static const char *value_of(const Lxmgr__V1__Instance *pb, const char *key)
{
	const char *value = lx_pb_map_get(pb->n_expanded_config, pb->expanded_config, key);

	return value ? value : "";
}

static bool differs(const struct lx_limits_change *c, const char *key)
{
	return !lx_streq(value_of(c->inst->pb, key), value_of(c->changed, key));
}

static bool runs(const struct lx_inst *inst)
{
	return inst->pb->status == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING ||
	       inst->pb->status == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN;
}

static void ask(struct asked *a, const struct lx_limits_change *c)
{
	const struct lx_call_options options = { .timeout_ms = TIMEOUT_MS };
	Lxmgr__V1__AgentCheckLimitsRequest req = LXMGR__V1__AGENT_CHECK_LIMITS_REQUEST__INIT;
	const struct lx_node *node = lx_map_get(&a->m->nodes, c->inst->pb->node);
	bool swap = differs(c, "limits.memory.swap"), soft = differs(c, "limits.memory.soft"),
	     cpu = differs(c, "limits.cpu");

	req.memory = differs(c, "limits.memory") || swap;
	req.processes = differs(c, "limits.processes");
	if (!(req.memory || req.processes || soft || cpu) || !runs(c->inst) || !node || !lx_node_online(node))
		return;
	req.name = (char *)(uintptr_t)c->inst->key;
	req.n_config = c->changed->n_expanded_config;
	req.config = (Lxmgr__V1__AgentCheckLimitsRequest__ConfigEntry **)(void *)c->changed->expanded_config;
	a->waiting++;
	if (lx_channel_unary(node->channel, &lxmgr__v1__agent_service__descriptor, "CheckLimits", &req.base,
			     &options, on_answer, a, NULL, NULL) < 0)
		a->waiting--;
}

void lx_api_check_limits(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg,
			 const struct lx_limits_change *changes, size_t n, lx_turn_handler next)
{
	struct asked *a = calloc(1, sizeof(*a));

	if (!a || !(a->msg = lx_pb_dup(msg))) {
		free(a);
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	*a = (struct asked){
		.m = m, .call = call, .msg = a->msg, .next = next, .waiting = 1, .err = LX_ERR_INIT
	};
	lx_call_set_events(call, &call_events, a);
	for (size_t i = 0; i < n; i++)
		ask(a, &changes[i]);
	answered(a);
}
