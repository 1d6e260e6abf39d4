/* What instance.move shares with who asks for it: clients (api/instance_move.c), evacuations (evacuate.c). */
#ifndef LX_LXMGR_OPERATIONS_MOVE_H
#define LX_LXMGR_OPERATIONS_MOVE_H

#include "lxmgr/manager.h"

#define LX_MOVE_TIMEOUT_SECONDS_MAX 86400u /* of a clean stop */

/* move_begin.c: can these be asked for? */
int lx_move_check_options(Lxmgr__V1__LiveMode live, uint32_t timeout_seconds, struct lx_err *err);
/* Which instance, and where would it go, as things are now? Nothing is changed. */
int lx_move_find(struct lx_manager *m, const char *project, const Lxmgr__V1__MoveInstanceRequest *req,
		 struct lx_inst **ret_inst, struct lx_node **ret_target, struct lx_err *err);
/*
 * The operation, with its instance in hand, to be accepted (lx_op_accept()) or freed. `peer` may
 * be NULL. NULL with err filled: it cannot be.
 */
struct lx_op *lx_move_new(struct lx_manager *m, const char *project,
			  const Lxmgr__V1__MoveInstanceRequest *req, const struct lx_peer *peer,
			  struct lx_err *err);

/*
 * Preflight of a move of that instance to that node: both agents are asked. `cb` runs once, later,
 * with the findings (borrowed), or an error when one of them could not be asked.
 */
typedef void (*lx_move_checked)(const Lxmgr__V1__MoveCheck *check, const struct lx_err *err, void *arg);
int lx_move_check(struct lx_manager *m, const struct lx_inst *inst, const char *target,
		  const Lxmgr__V1__MoveInstanceRequest *req, lx_move_checked cb, void *arg,
		  struct lx_err *err);

/* move_forget.c: what agents keep of moves that have ended. Once; a row of the store. */
void lx_moves_init(struct lx_manager *m);
int lx_move_forget_load(struct lx_manager *m, const struct lx_sql_value *cols, struct lx_err *err);
/* A node is back, or is not part of the cluster any more. */
void lx_moves_go_on(struct lx_manager *m);
/* move_end.c: a node is being taken out of the cluster, and never comes back. */

/* One that moves something there, or NULL. */
const struct lx_op *lx_move_to(const struct lx_manager *m, const char *node);
/* Those end; what of them had come to the source to be sent, it takes back. */
void lx_moves_target_removed(struct lx_manager *m, const char *node);
/* That move's instance goes with its node: ends it, without the instance; the target gives up. */
void lx_move_source_removed(struct lx_op *move, const struct lx_err *why);

/* move_forget.c: that instance has come where it is now while nobody could tell. */
void lx_moves_arrived(struct lx_manager *m, const struct lx_inst *inst);

#endif
