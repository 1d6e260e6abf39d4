/*
 * How did it end? A destination that is ready and has lost the source's word asks the source's
 * agent; a source that has committed and was not told "done" asks the destination's. Both ask
 * until they know: without an answer neither may do anything. Only the manager can say that there
 * will be none, because the other node is not part of the cluster any more.
 */
#include <stdlib.h>

#include "agent/loop.h"
#include "agent/move/move.h"
#include "agent/peer.h"
#include "lib/log.h"
#include "lib/sm.h"
#include "lib/str.h"
#include "proto/pb.h"

#define ASK_AGAIN_MS 500u
#define ANSWER_MS    5000u

struct lx_ask {
	struct lx_agent_move *move; /* NULL: nobody wants to know any more */
	uint32_t wanted;
	void (*cb)(struct lx_agent_move *m, unsigned state);
	struct lx_channel *channel;
	struct lx_timer *timer;
	bool asking;
	unsigned times;
};

static void ask(void *arg);

static void drop(struct lx_ask *q)
{
	lx_timer_drop(&q->timer);
	if (q->channel)
		lx_channel_close(q->channel);
	q->channel = NULL;
	if (!q->asking)
		free(q);
	else
		q->move = NULL;
}

void lx_move_ask_stop(struct lx_agent_move *m)
{
	if (m->ask)
		drop(m->ask);
	m->ask = NULL;
}

static void ask_again(struct lx_ask *q)
{
	/* Every minute a line: somebody may wonder why nothing happens. */
	if (q->times++ % (60000 / ASK_AGAIN_MS) == 10)
		lx_warn("waiting for the other node to say how a move ended",
			"instance=%s operation=%s node=%s", q->move->rec->instance, q->move->rec->operation,
			q->move->rec->peer);
	if (lx_timer_start(q->move->agent->loop, ASK_AGAIN_MS, 0, ask, q, &q->timer, NULL) < 0)
		lx_error("out of memory: a move stays undecided", "instance=%s", q->move->rec->instance);
}

static void answered(struct lx_ask *q, unsigned state)
{
	void (*cb)(struct lx_agent_move *, unsigned) = q->cb;
	struct lx_agent_move *m = q->move;

	lx_move_ask_stop(m);
	cb(m, state);
}

static void on_answer(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	const Lxmgr__V1__MoveOutcome *outcome = (const void *)resp;
	struct lx_ask *q = arg;

	q->asking = false;
	if (!q->move) {
		free(q);
		return;
	}
	struct lx_agent_move *m = q->move;

	if (!outcome || !(q->wanted & LX_SM_TO(outcome->state))) {
		ask_again(q);
		return;
	}
	lx_move_take_figures(m, outcome);
	answered(q, outcome->state);
}

static void ask(void *arg)
{
	Lxmgr__V1__MoveOutcomeRequest req = LXMGR__V1__MOVE_OUTCOME_REQUEST__INIT;
	const struct lx_call_options opt = { .timeout_ms = ANSWER_MS };
	struct lx_ask *q = arg;
	struct lx_agent_move *m = q->move;
	struct lx_err err = LX_ERR_INIT;
	int r = 0;

	lx_timer_drop(&q->timer);
	if (m->peer_removed) {
		answered(q, LXMGR__V1__MOVE_STATE__MOVE_STATE_ABORTED);
		return;
	}
	if (!q->channel)
		r = lx_peer_dial(m->agent, m->rec->peer, m->rec->peer_address, &q->channel, &err);
	req.operation = m->rec->operation;
	req.instance = m->rec->instance;
	q->asking = r == 0;
	if (r == 0)
		r = lx_channel_unary(q->channel, &lxmgr__v1__agent_service__descriptor, "AskOutcome",
				     &req.base, &opt, on_answer, q, NULL, &err);
	if (r < 0) {
		q->asking = false;
		ask_again(q);
	}
}

int lx_move_ask(struct lx_agent_move *m, uint32_t wanted, void (*cb)(struct lx_agent_move *m, unsigned state),
		struct lx_err *err)
{
	struct lx_ask *q = calloc(1, sizeof(*q));

	lx_move_ask_stop(m);
	if (!q)
		return lx_err_oom(err);
	*q = (struct lx_ask){ .move = m, .wanted = wanted, .cb = cb };
	m->ask = q;
	/* Not before this has returned. */
	int r = lx_timer_start(m->agent->loop, 0, 0, ask, q, &q->timer, err);

	if (r < 0)
		lx_move_ask_stop(m);
	return r;
}

/* ------------------------------------------------------------------ the answer */

void lx_move_outcome_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__MoveOutcomeRequest *req = (const void *)msg;
	Lxmgr__V1__MoveOutcome outcome = LXMGR__V1__MOVE_OUTCOME__INIT;
	struct lx_agent_move *m = lx_move_find(arg, req->operation);

	/* Only the one on the other side has a right to know. */
	if (!m || !lx_streq(m->rec->instance, req->instance) ||
	    !lx_streq(m->rec->peer, lx_call_peer(call)->common_name)) {
		lx_call_failf(call, LX_NOT_FOUND, "there is no such move on this node");
		return;
	}
	struct lx_err err = LX_ERR_INIT;

	if (lx_move_reload(m, &err) < 0) {
		lx_call_fail(call, &err);
		return;
	}
	outcome.state = m->rec->state;
	if (m->rec->report)
		outcome.booted = m->rec->report->booted;
	outcome.done = m->rec->done;
	lx_call_reply(call, &outcome.base);
}
