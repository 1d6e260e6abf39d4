/*
 * An instance's agent gets its specification.
 *
 *   changed --+--> untold --(free, node online)--> telling --answer--> told
 *             |       ^                               |
 *             +-------+------- changed meanwhile -----+
 *
 * One call at a time for each instance, with the specification as it is then: changes that
 * come close together are told together. Operations on the instance wait for the call
 * (lx_op_run), and it waits for them. What could not be told (the node was away, the manager
 * was killed before it came to it) shows in the digest that the agent reports when it is back.
 */
#include "lxmgr/manager.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/operations/operation.h"
#include "proto/pb.h"

/* Somebody who wants to know what came of it. */
struct lx_tell {
	TAILQ_ENTRY(lx_tell) link;
	lx_tell_cb cb;
	void *arg;
};

TAILQ_HEAD(tells, lx_tell);

/* One call to the agent. */
struct telling {
	struct lx_manager *m;
	char *uuid;
	struct tells tells;
};

static void answer(struct tells *tells, struct lx_inst *inst, size_t n, char *const *restart,
		   const struct lx_err *err)
{
	struct lx_tell *t;

	while ((t = TAILQ_FIRST(tells))) {
		TAILQ_REMOVE(tells, t, link);
		t->cb(inst, n, restart, err, t->arg);
		free(t);
	}
}

static void take_waiting(struct lx_inst *inst, struct tells *ret)
{
	struct lx_tell *t;

	TAILQ_INIT(ret);
	while ((t = TAILQ_FIRST(&inst->tells))) {
		TAILQ_REMOVE(&inst->tells, t, link);
		TAILQ_INSERT_TAIL(ret, t, link);
	}
}

static void on_told(const ProtobufCMessage *msg, const struct lx_err *cause, void *arg)
{
	struct telling *k = arg;
	struct lx_manager *m = k->m;
	const Lxmgr__V1__AgentUpdateInstanceResponse *resp = (const void *)msg;
	struct lx_inst *inst = lx_map_get(&m->instances_by_uuid, k->uuid);
	struct lx_err err = *cause;

	if (inst) {
		inst->telling = false;
		inst->untold |= err.code != LX_OK;
		/* Before the answer: one that does not run has nothing to hold, and who asked may go on. */
		if (resp && resp->instance)
			lx_held_report(m, inst, resp->instance);
	}
	if (!inst)
		lx_err_set(&err, LX_NOT_FOUND, "the instance was deleted meanwhile");
	else if (err.code == LX_UNAVAILABLE)
		err = LX_ERR_INIT; /* it is told when it is back */
	else if (err.code != LX_OK)
		lx_err_wrap(&err, "the change of %s is stored, but its node could not apply it",
			    inst->pb->name);
	answer(&k->tells, inst, resp ? resp->n_needs_restart : 0, resp ? resp->needs_restart : NULL, &err);
	free(k->uuid);
	free(k);
	if (!inst || m->stopping)
		return;
	if (inst->op)
		lx_op_go_on(inst->op);
	else if (!TAILQ_EMPTY(&inst->tells))
		lx_inst_tell_next(m, inst);
}

static int tell(struct lx_manager *m, struct lx_inst *inst, struct lx_node *node, struct lx_err *err)
{
	Lxmgr__V1__AgentUpdateInstanceRequest req = LXMGR__V1__AGENT_UPDATE_INSTANCE_REQUEST__INIT;
	bool runs = inst->pb->status == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING ||
		    inst->pb->status == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN;
	struct telling *k = calloc(1, sizeof(*k));
	int r;

	if (!k || !(k->uuid = strdup(inst->pb->uuid)) || !(req.spec = lx_inst_spec(inst, runs))) {
		r = lx_err_oom(err);
		goto fail;
	}
	k->m = m;
	r = lx_channel_unary(node->channel, &lxmgr__v1__agent_service__descriptor, "UpdateInstance",
			     &req.base, NULL, on_told, k, NULL, err);
	if (r < 0)
		goto fail;
	take_waiting(inst, &k->tells);
	inst->telling = true;
	inst->untold = false;
	lx_pb_free(req.spec);
	return 0;
fail:
	lx_pb_free(req.spec);
	if (k)
		free(k->uuid);
	free(k);
	return r;
}

void lx_inst_tell_next(struct lx_manager *m, struct lx_inst *inst)
{
	struct lx_node *node = lx_map_get(&m->nodes, inst->pb->node);
	struct lx_err err = LX_ERR_INIT;
	struct tells waiting;

	if (inst->telling || inst->op || !inst->untold || m->stopping)
		return;
	if (node && lx_node_online(node) && tell(m, inst, node, &err) == 0)
		return;
	if (err.code != LX_OK)
		lx_warn("specification not sent", "instance=%s error=\"%s\"", inst->key, err.msg);
	err = LX_ERR_INIT;
	take_waiting(inst, &waiting);
	answer(&waiting, inst, 0, NULL, &err);
}

int lx_inst_tell(struct lx_manager *m, struct lx_inst *inst, lx_tell_cb cb, void *arg, struct lx_err *err)
{
	struct lx_node *node = lx_map_get(&m->nodes, inst->pb->node);

	inst->untold = true;
	if (!node || !lx_node_online(node))
		return 1;
	struct lx_tell *t = malloc(sizeof(*t));
	if (!t)
		return lx_err_oom(err);
	*t = (struct lx_tell){ .cb = cb, .arg = arg };
	TAILQ_INSERT_TAIL(&inst->tells, t, link);
	if (inst->telling || inst->op)
		return 0;
	int r = tell(m, inst, node, err);
	if (r < 0) {
		TAILQ_REMOVE(&inst->tells, t, link);
		free(t);
	}
	return r;
}

void lx_inst_tell_back(struct lx_manager *m, struct lx_inst *inst, uint64_t spec_digest)
{
	if (!inst->pb->n_expanded_devices)
		return; /* it could not be expanded when it was loaded: this would take its disk away */
	Lxmgr__V1__InstanceSpec *spec = lx_inst_spec(inst, false);
	inst->untold |= !spec || lx_pb_spec_digest(spec) != spec_digest;
	lx_pb_free(spec);
	lx_inst_tell_next(m, inst);
}

void lx_inst_tell_gone(struct lx_inst *inst)
{
	struct lx_err err = LX_ERR_INIT;
	struct tells waiting;

	lx_err_set(&err, LX_NOT_FOUND, "instance %s was deleted meanwhile", inst->pb->name);
	take_waiting(inst, &waiting);
	answer(&waiting, NULL, 0, NULL, &err);
}
