/*
 * ExpectInstance: the manager announces what will come to this node, and from whom. Nothing else
 * is let in (receive.c).
 *
 * What is left of a try before this one, which the source gave up, may still be on its way out:
 * a large guest's memory takes a while. The announcement then waits for the end of that.
 */
#include <errno.h>
#include <stdlib.h>

#include "agent/move/move.h"
#include "lib/qname.h"
#include "lib/str.h"
#include "proto/pb.h"

#define STATE(s) LXMGR__V1__MOVE_STATE__MOVE_STATE_##s

/* One that waits. */
struct lx_move_expecting {
	TAILQ_ENTRY(lx_move_expecting) link;
	struct lx_agent *agent;
	struct lx_call *call;
	Lxmgr__V1__AgentExpectInstanceRequest *req;
};

static int check_expected(const struct lx_agent *a, const Lxmgr__V1__AgentExpectInstanceRequest *req,
			  struct lx_err *err)
{
	const Lxmgr__V1__InstanceSpec *spec = req->spec;

	if (!spec || *spec->uuid == '\0' || spec->generation < 2 || *req->source == '\0')
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "what is expected needs a specification, a generation and a source");
	int r = lx_qname_check("instance", spec->name, err);

	if (r < 0)
		return r;
	if (!lx_map_has(&a->images, spec->image_fingerprint)) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "image %.12s of %s is not on node %s",
			   spec->image_fingerprint, spec->name, a->node);
		lx_err_hint(err, "lxmgr image fetch %.12s --target %s", spec->image_fingerprint, a->node);
		return -ENOENT;
	}
	if (lx_map_has(&a->instances, spec->name))
		return lx_err_set(err, LX_ALREADY_EXISTS, "node %s has an instance %s already", a->node,
				  spec->name);
	return 0;
}

static lx_move_record *new_record(const Lxmgr__V1__AgentExpectInstanceRequest *req)
{
	lx_move_record *rec = malloc(sizeof(*rec));

	if (!rec)
		return NULL;
	lxmgr__v1__move_record__init(rec);
	rec->role = LXMGR__V1__MOVE_ROLE__MOVE_ROLE_DESTINATION;
	rec->state = STATE(EXPECTED);
	rec->mode = req->mode;
	rec->generation = req->spec->generation - 1;
	rec->new_generation = req->spec->generation;
	rec->start = req->mode == LXMGR__V1__MOVE_MODE__MOVE_MODE_NEAR_LIVE;
	rec->spec = LX_PB_DUP(Lxmgr__V1__InstanceSpec, req->spec);
	if (rec->spec && lx_pb_set(&rec->operation, req->operation) == 0 &&
	    lx_pb_set(&rec->instance, req->spec->name) == 0 && lx_pb_set(&rec->peer, req->source) == 0 &&
	    lx_pb_set(&rec->peer_address, req->source_address) == 0)
		return rec;
	lx_move_record_free(rec);
	return NULL;
}

/* ------------------------------------------------------------------ waiting */

static bool is_leaving(const struct lx_agent *a, const Lxmgr__V1__AgentExpectInstanceRequest *req)
{
	const struct lx_instance *inst = req->spec ? lx_map_get(&a->instances, req->spec->name) : NULL;

	return inst && inst->task && inst->task->verb == &lx_verb_receive &&
	       lx_streq(inst->spec->uuid, req->spec->uuid) &&
	       !lx_streq(inst->task->operation, req->operation);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct lx_move_expecting *e = arg;

	TAILQ_REMOVE(&e->agent->expecting, e, link);
	lx_pb_free(e->req);
	free(e);
}

static const struct lx_call_events waiting_events = { .closed = on_closed };

static int wait_for_it(struct lx_agent *a, struct lx_call *call,
		       const Lxmgr__V1__AgentExpectInstanceRequest *req, struct lx_err *err)
{
	struct lx_move_expecting *e = calloc(1, sizeof(*e));

	if (e)
		e->req = LX_PB_DUP(Lxmgr__V1__AgentExpectInstanceRequest, req);
	if (!e || !e->req) {
		free(e);
		return lx_err_oom(err);
	}
	e->agent = a;
	e->call = call;
	TAILQ_INSERT_TAIL(&a->expecting, e, link);
	lx_call_set_events(call, &waiting_events, e);
	return 0;
}

/* ------------------------------------------------------------------ the call */

static int expect(struct lx_agent *a, const Lxmgr__V1__AgentExpectInstanceRequest *req,
		  struct lx_agent_move **ret, struct lx_err *err)
{
	struct lx_agent_move *m = lx_move_find(a, req->operation);

	/* Announced once more, perhaps otherwise, before anything came. */
	if (m && m->rec->state == STATE(EXPECTED) && !m->task) {
		lx_move_forget(m);
		m = NULL;
	}
	*ret = m;
	if (m)
		return 0;
	int r = check_expected(a, req, err);

	if (r < 0)
		return r;
	lx_move_record *rec = new_record(req);

	return rec ? lx_move_add(a, rec, ret, err) : lx_err_oom(err);
}

static void answer(struct lx_agent *a, struct lx_call *call, const Lxmgr__V1__AgentExpectInstanceRequest *req)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_agent_move *m;

	if (expect(a, req, &m, &err) < 0)
		lx_call_fail(call, &err);
	else
		lx_move_reply_status(m, call);
}

void lx_move_expect_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentExpectInstanceRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	int r = lx_move_operation_check(req->operation, &err);

	if (r == 0 && is_leaving(arg, req))
		r = wait_for_it(arg, call, req, &err);
	else if (r == 0)
		answer(arg, call, req);
	if (r < 0)
		lx_call_fail(call, &err);
}

void lx_move_expect_again(struct lx_agent *a)
{
	struct lx_move_expecting *next;

	if (a->stopping)
		return;
	for (struct lx_move_expecting *e = TAILQ_FIRST(&a->expecting); e; e = next) {
		next = TAILQ_NEXT(e, link);
		if (!is_leaving(a, e->req))
			answer(a, e->call, e->req);
	}
}
