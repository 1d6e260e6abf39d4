/*
 * An agent's journal of a move: <state>/moves/<operation>.pb, one MoveRecord each, written
 * (temp, fsync, rename) before what it says is acted upon.
 *
 *   source        RUNNING --------------------> COMMITTED ----> DONE
 *                    |                              |
 *                    +---> ABORTED <----------------+ the destination was removed from the cluster
 *
 *   destination   EXPECTED --> RUNNING --> READY --> COMMITTED --> DONE
 *                    |            |          |
 *                    +------------+----------+---> ABORTED
 *
 * While a worker is at it, the worker writes; before and after it, the agent. Records that are
 * settled (DONE, ABORTED) are kept for a while, because the other side may still ask.
 */
#ifndef LX_MIGRATION_RECORD_H
#define LX_MIGRATION_RECORD_H

#include "lib/err.h"
#include "lxmgr/v1/agent.pb-c.h"

#define LX_MOVE_RECORD_MAX (2u << 20)
#define LX_MOVES_DIR       "moves"

typedef Lxmgr__V1__MoveRecord lx_move_record;

/* An operation's id as a file name: letters, digits and "-", at most 64. */
int lx_move_operation_check(const char *operation, struct lx_err *err);

/* -ENOENT (NOT_FOUND) when there is none. Free with lx_move_record_free(). */
int lx_move_record_load(const char *state_dir, const char *operation, lx_move_record **ret,
			struct lx_err *err);
int lx_move_record_save(const char *state_dir, const lx_move_record *rec, struct lx_err *err);
/* A checked move of the state machine, saved. On failure the record is as before. */
int lx_move_record_advance(const char *state_dir, lx_move_record *rec, Lxmgr__V1__MoveState to,
			   struct lx_err *err);
/* ABORTED, with why; not once it is committed. */
int lx_move_record_abort(const char *state_dir, lx_move_record *rec, const struct lx_err *why,
			 struct lx_err *err);
/* The same of a source that has committed. */
int lx_move_record_take_back(const char *state_dir, lx_move_record *rec, const struct lx_err *why,
			     struct lx_err *err);
int lx_move_record_remove(const char *state_dir, const char *operation, struct lx_err *err);
const char *lx_move_state_name(Lxmgr__V1__MoveState state);
void lx_move_record_free(lx_move_record *rec);

static inline void lx_move_record_cleanup(lx_move_record **rec)
{
	lx_move_record_free(*rec);
}
#define lx_automoverecord __attribute__((cleanup(lx_move_record_cleanup)))

#endif
