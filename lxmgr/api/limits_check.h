/*
 * Limits of running instances: whether their nodes can hold them to these is asked before anything is
 * stored. A limit below what an instance has would be refused by the kernel, or kill what is above.
 */
#ifndef LX_LXMGR_API_LIMITS_CHECK_H
#define LX_LXMGR_API_LIMITS_CHECK_H

#include "lxmgr/manager.h"

struct lx_limits_change {
	const struct lx_inst *inst;
	Lxmgr__V1__Instance *changed; /* what it would become, expanded */
};

/*
 * Asks about those that run, whose node is there, and whose limits would change. When none says no `next`
 * runs (on a copy of the message, if one was asked); else the call fails with the first no. Who gives no
 * answer, or knows no such question, is told of the limits as before.
 */
void lx_api_check_limits(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg,
			 const struct lx_limits_change *changes, size_t n, lx_turn_handler next);

#endif
