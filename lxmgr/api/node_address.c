/*
 * NodeService.SetAddress: a machine that is reached elsewhere than when it joined.
 *
 * The address is stored first, then dialled. What answers there has to have the node's own
 * certificate, so a wrong address makes a node OFFLINE, never another one of it.
 */
#include "lxmgr/api/nodes.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "proto/pb.h"
#include "rpc/address.h"

struct change {
	char *name, *address;
};

static void change_free(struct change *c)
{
	if (!c)
		return;
	free(c->name);
	free(c->address);
	free(c);
}

static void on_stored(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	struct change *c = data;
	struct lx_err e = *err;
	struct lx_node *n = e.code == LX_OK ? lx_node_find(m, c->name, &e) : NULL;

	if (n && lx_pb_set(&n->pb->address, c->address) < 0) {
		lx_err_oom(&e);
	} else if (n) {
		lx_info("node has a new address", "node=%s address=%s", c->name, c->address);
		const char *fields[] = { "address", c->address, NULL };
		lx_event(m, "node", "node-address-changed", "", c->name, c->name, fields);
		lx_link_redial(n);
	}
	lx_api_answer(call, n ? &n->pb->base : NULL, &e);
	change_free(c);
}

static int check(const char *address, struct lx_err *err)
{
	struct lx_address parsed;
	int r = lx_address_parse(address, &parsed, err);

	bool odd = r == 0 && strspn(parsed.host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
						 "0123456789.-:%") != strlen(parsed.host);

	if (r == 0 &&
	    (odd || !parsed.port || lx_streq(parsed.host, "0.0.0.0") || lx_streq(parsed.host, "::"))) {
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "no node can be reached at %s", address);
		lx_err_hint(err, "Give the host and port that its lxagentd listens at: 192.0.2.7:8444");
	}
	return r;
}

/* As it is stored: what is only known of a living node stays out. */
static struct lx_txn *store(const Lxmgr__V1__Node *node, char *address)
{
	Lxmgr__V1__Node spec = *node;

	spec.address = address;
	spec.facts = NULL;
	return lx_txn_named_spec("UPDATE nodes SET spec = ?2 WHERE name = ?1", node->name, &spec.base);
}

static void set_address(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__SetNodeAddressRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct change *c = NULL;
	const struct lx_node *n = lx_node_find(m, req->name, &err);

	if (!n || check(req->address, &err) < 0)
		goto fail;
	if (lx_streq(n->pb->address, req->address)) {
		lx_call_reply(call, &n->pb->base);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c || !(c->name = strdup(req->name)) || !(c->address = strdup(req->address))) {
		lx_err_oom(&err);
		goto fail;
	}
	if (lx_api_commit(m, call, store(n->pb, c->address), on_stored, c, &err) < 0)
		goto fail;
	return;
fail:
	change_free(c);
	lx_call_fail(call, &err);
}

LX_TURN_METHOD(in_turn, true, set_address)

void lx_api_node_set_address(struct lx_call *call, const ProtobufCMessage *msg, void *manager)
{
	in_turn(call, msg, manager);
}
