/* What node.evacuate and node.restore share with who asks for them and with moves. */
#ifndef LX_LXMGR_OPERATIONS_EVACUATE_H
#define LX_LXMGR_OPERATIONS_EVACUATE_H

#include "lxmgr/manager.h"

/*
 * How many instances of one node move at a time. Each takes bandwidth, and memory for a while on
 * both sides: more than this makes each of them slower and the whole hardly faster.
 */
#define LX_EVACUATE_PARALLEL     2u
#define LX_EVACUATE_PARALLEL_MAX 16u

/* The evacuation or restoration of that node that is under way, or NULL. */
struct lx_op *lx_evacuation_of(const struct lx_manager *m, const char *node);
/* Does this instance.move take its instance away from home for a while? */
bool lx_op_is_evacuation(const struct lx_op *move);

#endif
