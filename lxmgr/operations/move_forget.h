/*
 * Agents' records of moves that have ended, until both agents have forgotten them; and what the
 * source still has to tell before it does.
 *
 *      OUTCOME ---- the source has said how it ended -------+
 *         | it has moved                                    | it stays
 *         v                                                 |
 *      FIGURES ---- its report, or there will be none ----+ |
 *                                                         v v
 *      (row made) ------------------ NOTHING: first is told, then second ----> (row gone)
 *
 * Each try of a move is a row of the store, made in the transaction that ends the operation. A node
 * that is away is told when it is back, by whichever manager runs then; one that is not part of the
 * cluster any more needs not be told. Agents' calls are idempotent, and one that does not know the
 * move has forgotten it.
 *
 * First is the one that may wait for the other's word: the source for "done", the target for "given
 * up". Until it has forgotten, the other one must not.
 */
#ifndef LX_LXMGR_OPERATIONS_MOVE_FORGET_H
#define LX_LXMGR_OPERATIONS_MOVE_FORGET_H

#include "lxmgr/operations/move.h"
#include "lxmgr/operations/move_steps.h"

/* What is to be known before it is forgotten. The store has the numbers. */
enum lx_move_awaits { LX_MOVE_AWAITS_NOTHING, LX_MOVE_AWAITS_FIGURES, LX_MOVE_AWAITS_OUTCOME };

/* Of all tries of the operation: rows for its last transaction. */
void lx_move_forget_txn(struct lx_txn *txn, const struct lx_op *op, const char *first, const char *second);
/* That transaction is on disk: goes on from there. The operation's report says whether it is awaited. */
void lx_move_forget_begin(const struct lx_op *op, const char *first, const char *second);

/* move_late.c */

/*
 * What the manager knows by itself, when it is known to have moved and the source has not told its
 * figures. UNSPECIFIED: it does not know which way it went. NULL: no memory.
 */
Lxmgr__V1__MoveReport *lx_move_late_begin(const char *operation, const char *source, const char *target,
					  Lxmgr__V1__MoveMode mode);
/*
 * The source's report of that operation, for what is kept of it (the operation, unless it is gone,
 * and the instance's last move, unless there is a later one), or why there will be none (`told` is
 * NULL). `operation`: the row, which is awaited no more after that. `cb` runs once, later.
 */
struct lx_move_late {
	struct lx_manager *m;
	const char *operation, *id, *instance; /* borrowed until cb */
	Lxmgr__V1__MoveReport *told;           /* borrowed until cb */
	const char *why;                       /* borrowed until cb */
	void (*cb)(const struct lx_err *err, void *arg);
	void *arg;
};
int lx_move_late_put(const struct lx_move_late *late, struct lx_err *err);
/* What is kept of an instance with another last move, unless it has another home by now. -ENOMEM or 0. */
int lx_move_last_txn(struct lx_txn *txn, const Lxmgr__V1__Instance *inst);

/* move_outcome.c */

/*
 * How an operation ended after all whose outcome was open: in the store and in memory, unless it is
 * gone or has been told before. If it has moved, the row awaits its figures from then on. `cb` runs
 * once, later.
 */
struct lx_move_outcome {
	struct lx_manager *m;
	const char *operation, *id, *instance; /* borrowed until cb, as the others */
	const char *source, *target;
	bool moved;
	bool known;               /* this try is the one that says it; else only its row changes */
	const struct lx_err *why; /* why it has not moved */
	void (*cb)(const struct lx_err *err, void *arg);
	void *arg;
};
int lx_move_outcome_put(const struct lx_move_outcome *outcome, struct lx_err *err);

#endif
