/*
 * A node is asked before the turn of a call: what only it can tell is known before anything is
 * stored, and the turn waits for nobody.
 */
#ifndef LX_LXMGR_API_ASK_FIRST_H
#define LX_LXMGR_API_ASK_FIRST_H

#include "lxmgr/manager.h"

/*
 * `method` of AgentService with `req`, at most a minute. When the node says yes `next` runs, on a copy
 * of `msg`; else the call fails with what it says. A client that goes away meanwhile ends it.
 */
void lx_api_ask_first(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg,
		      const struct lx_node *node, const char *method, const ProtobufCMessage *req,
		      lx_turn_handler next);

#endif
