/* Having rules compiled; see the header. */
#include "lxmgr/api/rules.h"

#include <stdlib.h>

#include "lib/str.h"
#include "profiles/profiles.h"
#include "proto/pb.h"

#define KEY        "raw.apparmor"
#define TIMEOUT_MS 60000u

struct check {
	struct lx_manager *m;
	struct lx_call *call; /* NULL: the client has gone */
	ProtobufCMessage *msg;
	lx_turn_handler next;
};

static void check_free(struct check *c)
{
	lx_pb_free(c->msg);
	free(c);
}

static void on_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct check *)arg)->call = NULL;
}

static const struct lx_call_events call_events = { .closed = on_call_closed };

static void on_checked(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct check *c = arg;

	if (c->call) {
		lx_call_set_events(c->call, NULL, NULL);
		if (err->code == LX_OK)
			c->next(c->call, c->msg, c->m);
		else
			lx_call_fail(c->call, err);
	}
	check_free(c);
}

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

static int ask(struct check *c, const char *rules, struct lx_err *err)
{
	Lxmgr__V1__AgentCheckPolicyRequest req = LXMGR__V1__AGENT_CHECK_POLICY_REQUEST__INIT;
	const struct lx_call_options options = { .timeout_ms = TIMEOUT_MS };
	struct lx_node *n = find_compiler(c->m);

	if (!n) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION,
				   KEY " cannot be checked: no node that is online has apparmor_parser");

		lx_err_hint(err, "Install the package apparmor on a node and start its lxagentd anew.");
		return r;
	}
	req.apparmor = (char *)(uintptr_t)rules;
	return lx_channel_unary(n->channel, &lxmgr__v1__agent_service__descriptor, "CheckPolicy", &req.base,
				&options, on_checked, c, NULL, err);
}

void lx_api_check_rules(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg, size_t n,
			const void *entries, lx_turn_handler next)
{
	const char *rules = lx_pb_map_get(n, entries, KEY);
	struct lx_err err = LX_ERR_INIT;

	/* What is wrong at sight the handler says. */
	if (lx_str_empty(rules) || lx_config_check(KEY, rules, NULL) < 0) {
		next(call, msg, m);
		return;
	}
	struct check *c = calloc(1, sizeof(*c));

	if (!c || !(c->msg = lx_pb_dup(msg))) {
		free(c);
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	c->m = m;
	c->call = call;
	c->next = next;
	lx_call_set_events(call, &call_events, c);
	if (ask(c, rules, &err) == 0)
		return;
	lx_call_set_events(call, NULL, NULL);
	lx_call_fail(call, &err);
	check_free(c);
}
