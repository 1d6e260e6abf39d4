/*
 * Whose turn it is to change what the cluster should be.
 *
 * A change looks at memory, is written down, and only then changes memory. Were another one
 * to look in between, it would build on what is about to be replaced: one of two changes
 * would be lost, or a profile deleted while an instance that uses it is made. So a change
 * that builds on what is there runs alone; those that only add what collides with nothing
 * but its own kind, which memory shows at once (instances), run beside each other. Who has
 * to wait does so in the order of arrival.
 *
 * A turn lasts from the call's handler until all that was submitted to the store in it is
 * on disk and in memory; it never waits for a node.
 */
#ifndef LX_LXMGR_TURN_H
#define LX_LXMGR_TURN_H

#include <stdbool.h>

#include "lib/list.h"
#include "rpc/rpc.h"

#define LX_TURN_MAX_WAITING 4096u

struct lx_manager;
struct lx_turn_waiter;

typedef void (*lx_turn_handler)(struct lx_call *call, const ProtobufCMessage *msg, void *manager);

struct lx_turns {
	TAILQ_HEAD(, lx_turn_waiter) waiting;
	unsigned n_waiting;
	unsigned held; /* handlers that run and transactions under way */
	bool alone;    /* the turn that is on is one that runs alone */
	bool passing;  /* being passed on right now */
};

void lx_turn_init(struct lx_turns *t);
/* Runs the handler, now or when it is its turn; a client that goes away meanwhile is forgotten. */
void lx_turn_take(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg, bool alone,
		  lx_turn_handler handler);
/* The same for one of our own, which nobody waits for. */
int lx_turn_take_own(struct lx_manager *m, bool alone, void (*run)(void *arg), void *arg);
/*
 * A transaction of our own, in a turn alone: `fill` says what is in it (0, or -ENOMEM), and `done` runs once,
 * later: when it is on disk, or with why it is not. Negative: there is no memory, and neither runs.
 */
struct lx_txn;
int lx_turn_own_txn(struct lx_manager *m, int (*fill)(struct lx_txn *txn, void *arg),
		    void (*done)(const struct lx_err *err, void *arg), void *arg);
/* `name` becomes a unary method that runs `handler` in its turn. */
#define LX_TURN_METHOD(name, alone, handler)                                                                 \
	static void name(struct lx_call *call, const ProtobufCMessage *msg, void *manager)                   \
	{                                                                                                    \
		lx_turn_take(manager, call, msg, alone, handler);                                            \
	}
/* Around a transaction: from its submission to the end of its callback. */
void lx_turn_hold(struct lx_manager *m);
void lx_turn_release(struct lx_manager *m);

#endif
