/* Turns; see turn.h. */
#include "lxmgr/turn.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lxmgr/manager.h"
#include "proto/pb.h"

struct lx_turn_waiter {
	TAILQ_ENTRY(lx_turn_waiter) link;
	struct lx_manager *m;
	bool alone;
	void (*run)(const struct lx_turn_waiter *w);
	/* run_call() */
	struct lx_call *call; /* NULL: our own */
	ProtobufCMessage *msg;
	lx_turn_handler handler;
	/* run_own() */
	void (*own)(void *arg);
	void *arg;
};

void lx_turn_init(struct lx_turns *t)
{
	TAILQ_INIT(&t->waiting);
}

static void waiter_free(struct lx_turn_waiter *w)
{
	TAILQ_REMOVE(&w->m->turns.waiting, w, link);
	w->m->turns.n_waiting--;
	lx_pb_free(w->msg);
	free(w);
}

static void on_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	waiter_free(arg);
}

static const struct lx_call_events waiting_events = { .closed = on_call_closed };

static bool is_free(const struct lx_turns *t, bool alone)
{
	return !t->alone && (!alone || !t->held);
}

static void run_call(const struct lx_turn_waiter *w)
{
	w->handler(w->call, w->msg, w->m);
}

static void run_own(const struct lx_turn_waiter *w)
{
	w->own(w->arg);
}

static void run(const struct lx_turn_waiter *w)
{
	w->m->turns.alone = w->alone;
	lx_turn_hold(w->m);
	w->run(w);
	lx_turn_release(w->m);
}

int lx_turn_take_own(struct lx_manager *m, bool alone, void (*fn)(void *arg), void *arg)
{
	const struct lx_turn_waiter now = { .m = m, .alone = alone, .run = run_own, .own = fn, .arg = arg };

	if (TAILQ_EMPTY(&m->turns.waiting) && is_free(&m->turns, alone)) {
		run(&now);
		return 0;
	}
	struct lx_turn_waiter *w = malloc(sizeof(*w));

	if (!w)
		return -ENOMEM;
	*w = now;
	TAILQ_INSERT_TAIL(&m->turns.waiting, w, link);
	m->turns.n_waiting++;
	return 0;
}

void lx_turn_take(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg, bool alone,
		  lx_turn_handler handler)
{
	struct lx_turns *t = &m->turns;

	if (TAILQ_EMPTY(&t->waiting) && is_free(t, alone)) {
		const struct lx_turn_waiter now = { .m = m,
						    .alone = alone,
						    .run = run_call,
						    .call = call,
						    .msg = (ProtobufCMessage *)(uintptr_t)msg,
						    .handler = handler };

		run(&now);
		return;
	}
	if (t->n_waiting >= LX_TURN_MAX_WAITING) {
		lx_call_failf(call, LX_UNAVAILABLE, "%u changes wait to be made already", t->n_waiting);
		return;
	}
	struct lx_turn_waiter *w = malloc(sizeof(*w));
	ProtobufCMessage *copy = lx_pb_dup(msg);
	if (!w || !copy) {
		free(w);
		lx_pb_free(copy);
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	*w = (struct lx_turn_waiter){
		.m = m, .alone = alone, .run = run_call, .call = call, .msg = copy, .handler = handler
	};
	TAILQ_INSERT_TAIL(&t->waiting, w, link);
	t->n_waiting++;
	lx_call_set_events(call, &waiting_events, w);
}

struct own_txn {
	struct lx_manager *m;
	int (*fill)(struct lx_txn *txn, void *arg);
	void (*done)(const struct lx_err *err, void *arg);
	void *arg;
};

static void on_own_stored(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct own_txn *own = arg;
	struct lx_manager *m = own->m;

	own->done(err, own->arg);
	free(own);
	lx_turn_release(m);
}

static void submit_own(void *arg)
{
	struct own_txn *own = arg;
	struct lx_txn *txn = lx_txn_new(NULL);
	struct lx_err err = LX_ERR_INIT;
	int r = txn ? own->fill(txn, own->arg) : -ENOMEM;

	if (r == 0)
		r = lx_store_submit(own->m->store, lx_move_ptr(txn), on_own_stored, own, &err);
	if (r == 0) {
		lx_turn_hold(own->m);
		return;
	}
	lx_txn_free(txn);
	if (err.code == LX_OK)
		lx_err_oom(&err);
	own->done(&err, own->arg);
	free(own);
}

int lx_turn_own_txn(struct lx_manager *m, int (*fill)(struct lx_txn *txn, void *arg),
		    void (*done)(const struct lx_err *err, void *arg), void *arg)
{
	struct own_txn *own = malloc(sizeof(*own));
	int r = -ENOMEM;

	if (own) {
		*own = (struct own_txn){ m, fill, done, arg };
		r = lx_turn_take_own(m, true, submit_own, own);
	}
	if (r < 0)
		free(own);
	return r;
}

void lx_turn_hold(struct lx_manager *m)
{
	m->turns.held++;
}

void lx_turn_release(struct lx_manager *m)
{
	struct lx_turns *t = &m->turns;
	struct lx_turn_waiter *w;

	if (--t->held == 0)
		t->alone = false;
	/* A handler that fails at once releases in here: the loop goes on, it does not nest. */
	if (t->passing || m->stopping)
		return;
	t->passing = true;
	while ((w = TAILQ_FIRST(&t->waiting)) && is_free(t, w->alone)) {
		struct lx_turn_waiter turn = *w;

		w->msg = NULL;
		waiter_free(w);
		if (turn.call)
			lx_call_set_events(turn.call, NULL, NULL);
		run(&turn);
		lx_pb_free(turn.msg);
	}
	t->passing = false;
}
