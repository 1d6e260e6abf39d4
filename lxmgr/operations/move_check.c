/*
 * Preflight: the source looks at the guest and at itself, the destination at itself; what both
 * found is one list, and the best way that it leaves open.
 *
 * Asked side by side. A node that cannot be asked is an error, not an obstacle: nothing is known.
 */
#include "lxmgr/operations/move.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/shown.h"
#include "profiles/apparmor_namespace.h"
#include "proto/pb.h"

#define COLD      LXMGR__V1__MOVE_MODE__MOVE_MODE_COLD
#define LIVE      LXMGR__V1__MOVE_MODE__MOVE_MODE_LIVE
#define NEAR_LIVE LXMGR__V1__MOVE_MODE__MOVE_MODE_NEAR_LIVE

/* Preflight of a large guest takes a while, one of any guest less than this. */
#define CHECK_MS 60000u

struct check {
	struct lx_manager *m;
	Lxmgr__V1__MoveCheck *result;
	Lxmgr__V1__MoveMode wanted;
	bool preferred; /* near-live will do */
	unsigned pending;
	struct lx_err err;
	lx_move_checked cb;
	void *arg;
	char *name;
};

static int add(struct lx_manager *m, Lxmgr__V1__MoveCheck *to, const Lxmgr__V1__MoveObstacle *o)
{
	Lxmgr__V1__MoveObstacle **grown =
		realloc(to->obstacles, (to->n_obstacles + 1) * sizeof(*to->obstacles));

	if (grown)
		to->obstacles = grown;
	Lxmgr__V1__MoveObstacle *copy = grown ? LX_PB_DUP(Lxmgr__V1__MoveObstacle, o) : NULL;

	if (!copy)
		return -ENOMEM;
	lx_shown_text(m, copy->cause);
	lx_shown_text(m, copy->cure);
	to->obstacles[to->n_obstacles++] = copy;
	return 0;
}

/* As its node says. */
static bool can(const struct lx_node *n, const char *feature)
{
	const Lxmgr__V1__NodeFacts *f = n->pb->facts;

	return f && lx_streq(lx_pb_map_get(f->n_features, f->features, feature), "yes");
}

/* An agent of a version before there were any would not take them in. */
static int check_snapshots(struct check *c, const struct lx_inst *inst, const struct lx_node *to)
{
	Lxmgr__V1__MoveObstacle o = LXMGR__V1__MOVE_OBSTACLE__INIT;

	if (inst->pb->snapshots == 0 || can(to, "snapshots"))
		return 0;
	lx_autofree char *cause = lx_asprintf(
		"%s has snapshots (%u), and node %s runs a version of lxmgr that cannot take them in",
		inst->pb->name, inst->pb->snapshots, to->pb->name);
	lx_autofree char *cure =
		lx_asprintf("Bring that node to the manager's version, choose another one, or "
			    "delete them: lxmgr snapshot list %s",
			    inst->pb->name);

	if (!cause || !cure)
		return -ENOMEM;
	o.code = (char *)(uintptr_t) "snapshots";
	o.cause = cause;
	o.cure = cure;
	o.node = to->pb->name;
	o.blocks = true;
	return add(c->m, c->result, &o);
}

/* Those that stand in the way of any move, not of a live one alone. */
static bool blocks_all(const char *code)
{
	return lx_streq(code, "name-taken") || lx_streq(code, "network") ||
	       lx_streq(code, "device-missing") || lx_streq(code, "proxy-taken") ||
	       lx_streq(code, "lxcfs-missing") || lx_streq(code, "disk-quota") ||
	       lx_streq(code, "disk-room") || lx_streq(code, "snapshots");
}

static void decide(struct check *c)
{
	Lxmgr__V1__MoveCheck *r = c->result;
	bool live_blocked = false, blocked = false;

	for (size_t i = 0; i < r->n_obstacles; i++) {
		if (!r->obstacles[i]->blocks)
			continue;
		if (blocks_all(r->obstacles[i]->code))
			blocked = true;
		else
			live_blocked = true;
	}
	r->mode = c->wanted;
	r->possible = !blocked && !(c->wanted == LIVE && live_blocked);
	if (blocked || r->possible)
		return;
	r->mode = NEAR_LIVE;
	r->possible = c->preferred;
	if (!r->possible)
		(void)lx_pb_set(&r->next,
				"With --live=preferred it is moved near-live: files are copied ahead, then "
				"it is stopped cleanly and started there.");
}

static void finish(struct check *c)
{
	if (c->err.code == LX_OK)
		decide(c);
	c->cb(c->err.code == LX_OK ? c->result : NULL, &c->err, c->arg);
	lx_pb_free(c->result);
	free(c->name);
	free(c);
}

static void on_answer(const ProtobufCMessage *msg, const struct lx_err *err, void *arg)
{
	const Lxmgr__V1__AgentCheckMoveResponse *resp = (const void *)msg;
	struct check *c = arg;

	if (err->code != LX_OK && c->err.code == LX_OK)
		c->err = *err;
	for (size_t i = 0; resp && i < resp->n_obstacles; i++)
		if (add(c->m, c->result, resp->obstacles[i]) < 0)
			lx_err_oom(&c->err);
	if (resp && resp->memory) {
		c->result->memory = resp->memory;
		if (lx_pb_set(&c->result->memory_reason, resp->memory_reason) < 0)
			lx_err_oom(&c->err);
	}
	if (--c->pending == 0)
		finish(c);
}

static int ask(struct check *c, struct lx_node *node, const Lxmgr__V1__AgentCheckMoveRequest *req,
	       struct lx_err *err)
{
	const struct lx_call_options opt = { .timeout_ms = CHECK_MS };
	int r;

	if (!lx_node_online(node)) {
		r = lx_err_set(err, LX_UNAVAILABLE, "node %s is offline: %s", node->pb->name,
			       node->pb->status_reason);
		lx_err_hint(err, "lxmgr node list shows when it is back.");
		return r;
	}
	r = lx_channel_unary(node->channel, &lxmgr__v1__agent_service__descriptor, "CheckMove", &req->base,
			     &opt, on_answer, c, NULL, err);
	if (r == 0)
		c->pending++;
	return r;
}

static Lxmgr__V1__MoveMode mode_for(const struct lx_inst *inst, const Lxmgr__V1__MoveInstanceRequest *req)
{
	if (inst->pb->status != LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING)
		return COLD;
	return req->stateless || req->live == LXMGR__V1__LIVE_MODE__LIVE_MODE_OFF ? NEAR_LIVE : LIVE;
}

int lx_move_check(struct lx_manager *m, const struct lx_inst *inst, const char *target,
		  const Lxmgr__V1__MoveInstanceRequest *req, lx_move_checked cb, void *arg,
		  struct lx_err *err)
{
	struct lx_node *from = lx_node_find(m, inst->pb->node, err),
		       *to = from ? lx_node_find(m, target, err) : NULL;
	Lxmgr__V1__AgentCheckMoveRequest there = LXMGR__V1__AGENT_CHECK_MOVE_REQUEST__INIT, here = there;
	struct check *c = to ? calloc(1, sizeof(*c)) : NULL;
	Lxmgr__V1__InstanceSpec *spec = c ? lx_inst_spec(inst, true) : NULL;
	Lxmgr__V1__MoveCheck *result = c ? malloc(sizeof(*result)) : NULL;
	int r;

	if (!to)
		return -ENOENT;
	if (!c || !spec || !result) {
		free(c);
		free(result);
		lx_pb_free(spec);
		return lx_err_oom(err);
	}
	lxmgr__v1__move_check__init(result);
	*c = (struct check){ .m = m,
			     .result = result,
			     .wanted = mode_for(inst, req),
			     .preferred = req->live == LXMGR__V1__LIVE_MODE__LIVE_MODE_PREFERRED,
			     .cb = cb,
			     .arg = arg };
	r = lx_pb_set(&result->target, target);
	if (r == 0)
		r = check_snapshots(c, inst, to);
	here.name = (char *)(uintptr_t)inst->key;
	here.postcopy = req->postcopy;
	there.spec = spec;
	there.live = c->wanted == LIVE;
	there.lxcfs = c->wanted == LIVE && can(from, "lxcfs");
	there.policy = c->wanted == LIVE && can(from, LX_FEATURE_APPARMOR_NAMESPACES);
	there.apparmor = c->wanted == LIVE ? inst->pb->apparmor : there.apparmor;
	there.memory_bytes = inst->pb->usage ? inst->pb->usage->memory_bytes : 0;
	there.disk_bytes = (inst->pb->usage ? inst->pb->usage->disk_bytes : 0) + inst->pb->snapshot_bytes;
	if (r == 0)
		r = ask(c, to, &there, err);
	else
		lx_err_oom(err);
	/* A guest that stands still, or will, has nothing in its way. */
	if (r == 0 && c->wanted == LIVE) {
		r = ask(c, from, &here, err);
		if (r < 0) { /* the other answer ends it */
			c->err = *err;
			r = 0;
		}
	}
	lx_pb_free(spec);
	if (r < 0) {
		lx_pb_free(result);
		free(c);
	}
	return r;
}
