/*
 * Rules for a security module (raw.apparmor) are compiled by a node before anything is stored:
 * the manager has no compiler. Goes before the turn of a call that may bring some.
 */
#ifndef LX_LXMGR_API_RULES_H
#define LX_LXMGR_API_RULES_H

#include "lxmgr/manager.h"

/*
 * `entries`: the request's map<string, string>. Without rules `next` runs at once, with good ones
 * once a node has said so (on a copy of the message); with others, or when no node can tell, the
 * call fails.
 */
void lx_api_check_rules(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg, size_t n,
			const void *entries, lx_turn_handler next);

#endif
