/* Having rules compiled; see the header. */
#include "lxmgr/api/rules.h"

#include "lib/str.h"
#include "lxmgr/api/ask_first.h"
#include "profiles/profiles.h"
#include "proto/pb.h"

#define KEY "raw.apparmor"

static struct lx_node *find_compiler(struct lx_manager *m)
{
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e)) {
		struct lx_node *n = lx_map_value(e);
		const Lxmgr__V1__NodeFacts *f = n->pb->facts;

		if (lx_node_online(n) && f &&
		    lx_streq(lx_pb_map_get(f->n_features, f->features, "apparmor-parser"), "yes"))
			return n;
	}
	return NULL;
}

void lx_api_check_rules(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg, size_t n,
			const void *entries, lx_turn_handler next)
{
	Lxmgr__V1__AgentCheckPolicyRequest req = LXMGR__V1__AGENT_CHECK_POLICY_REQUEST__INIT;
	const char *rules = lx_pb_map_get(n, entries, KEY);

	/* What is wrong at sight the handler says. */
	if (lx_str_empty(rules) || lx_config_check(KEY, rules, NULL) < 0) {
		next(call, msg, m);
		return;
	}
	const struct lx_node *node = find_compiler(m);

	if (!node) {
		struct lx_err err = LX_ERR_INIT;

		lx_err_set(&err, LX_FAILED_PRECONDITION,
			   KEY " cannot be checked: no node that is online has apparmor_parser");
		lx_err_hint(&err, "Install the package apparmor on a node and start its lxagentd anew.");
		lx_call_fail(call, &err);
		return;
	}
	req.apparmor = (char *)(uintptr_t)rules;
	lx_api_ask_first(m, call, msg, node, "CheckPolicy", &req.base, next);
}
