/* What instance.move shares with who only wants to know (api/instance_move.c). */
#ifndef LX_LXMGR_OPERATIONS_MOVE_H
#define LX_LXMGR_OPERATIONS_MOVE_H

#include "lxmgr/manager.h"

/*
 * Preflight of a move of that instance to that node: both agents are asked. `cb` runs once, later,
 * with the findings (borrowed), or an error when one of them could not be asked.
 */
typedef void (*lx_move_checked)(const Lxmgr__V1__MoveCheck *check, const struct lx_err *err, void *arg);
int lx_move_check(struct lx_manager *m, const struct lx_inst *inst, const char *target,
		  const Lxmgr__V1__MoveInstanceRequest *req, lx_move_checked cb, void *arg, struct lx_err *err);

#endif
