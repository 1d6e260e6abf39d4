/*
 * NodeService: list, tokens, join, remove. Labels and cordons are in node_update.c.
 *
 * A token is base64url of {"v":1,"a":["host:port"],"f":CA fingerprint,"s":secret,"n":name}.
 * Only the SHA-256 of its secret is stored; using it deletes it in the same transaction that
 * adds the node, so it works once.
 */
#include "lxmgr/api/nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/auth/secret.h"
#include "lxmgr/cluster/own_address.h"
#include "lxmgr/operations/move.h"
#include "lxmgr/operations/operation.h"
#include "proto/pb.h"
#include "rpc/token.h"

#define CSR_MAX 16384u

void lx_api_count_instances(struct lx_manager *m)
{
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e))
		((struct lx_node *)lx_map_value(e))->pb->instances = 0;
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);
		struct lx_node *n = lx_map_get(&m->nodes, inst->pb->node);
		if (n)
			n->pb->instances++;
	}
}

static void api_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_manager *m = arg;
	Lxmgr__V1__ListNodesResponse resp = LXMGR__V1__LIST_NODES_RESPONSE__INIT;
	lx_autofree Lxmgr__V1__Node **list = calloc(lx_map_count(&m->nodes) + 1, sizeof(*list));

	if (!list) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	lx_api_count_instances(m);
	resp.nodes = list;
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e))
		list[resp.n_nodes++] = ((struct lx_node *)lx_map_value(e))->pb;
	lx_call_reply(call, &resp.base);
}

static void api_get(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__NodeRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_node *n = lx_node_find(arg, req->name, &err);

	lx_api_count_instances(arg);
	if (n)
		lx_call_reply(call, &n->pb->base);
	else
		lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ tokens */

struct token {
	char *text;
	int64_t expires;
};

static void token_free(struct token *t)
{
	if (t)
		free(t->text);
	free(t);
}

static void on_token_stored(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	struct token *t = data;
	Lxmgr__V1__JoinToken reply = LXMGR__V1__JOIN_TOKEN__INIT;
	reply.token = t->text;
	reply.expires_at_ns = t->expires;
	lx_api_answer(call, &reply.base, err);
	token_free(t);
}

static void api_create_token(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__CreateTokenRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	char secret[LX_SECRET_TEXT], hash[LX_HASH_TEXT];
	lx_autofree char *addresses = NULL;
	long long expires;

	if (!lx_str_empty(req->name)) {
		if (lx_name_check("node", req->name, &err) < 0)
			goto fail;
		if (lx_map_has(&m->nodes, req->name)) {
			lx_err_set(&err, LX_ALREADY_EXISTS, "node %s is already part of the cluster",
				   req->name);
			goto fail;
		}
	}
	if (lx_token_expiry(req->ttl_seconds, &expires, &err) < 0 || lx_secret_make(secret, hash, &err) < 0)
		goto fail;

	struct token *t = calloc(1, sizeof(*t));
	struct lx_txn *txn = lx_txn_new(NULL);

	addresses = lx_own_addresses(m);
	if (!t || !txn || !addresses ||
	    !(t->text = lx_token_format(LX_TOKEN_NODE, addresses, m->ca_fingerprint, secret, req->name))) {
		token_free(t);
		lx_txn_free(txn);
		lx_err_oom(&err);
		goto fail;
	}
	t->expires = expires;
	lx_txn_exec(txn, "DELETE FROM tokens WHERE expires_at < ?1");
	lx_txn_int(txn, (int64_t)lx_now_realtime_ns());
	lx_txn_exec(txn, "INSERT INTO tokens (secret_hash, node, expires_at) VALUES (?1, ?2, ?3)");
	lx_txn_text(txn, hash);
	lx_txn_text(txn, req->name);
	lx_txn_int(txn, t->expires);
	if (lx_api_commit(m, call, txn, on_token_stored, t, &err) < 0) {
		token_free(t);
		goto fail;
	}
	return;
fail:
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ join */

struct join {
	Lxmgr__V1__Node *node;
	char *cert_pem;
};

static void join_free(struct join *j)
{
	if (!j)
		return;
	lx_pb_free(j->node);
	free(j->cert_pem);
	free(j);
}

static void on_joined(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	struct join *j = data;
	struct lx_err e = *err;

	if (e.code == LX_ABORTED) {
		lx_err_set(&e, LX_PERMISSION_DENIED,
			   "the join token is not valid: unknown, used, or expired");
		lx_err_hint(&e, "Make a new one with: lxmgr node token");
	} else if (e.code == LX_ALREADY_EXISTS) {
		lx_err_set(&e, LX_ALREADY_EXISTS, "node %s is already part of the cluster", j->node->name);
		lx_err_hint(&e, "Join under another --node-name, or remove it first: lxmgr node remove %s",
			    j->node->name);
	}
	Lxmgr__V1__JoinResponse reply = LXMGR__V1__JOIN_RESPONSE__INIT;
	reply.name = j->node->name;
	reply.certificate_pem = j->cert_pem;
	reply.ca_pem = m->ca_pem;
	reply.cluster_id = m->cluster_id;
	lx_api_answer(call, &reply.base, &e);
	if (e.code == LX_OK) {
		lx_info("node joined", "node=%s address=%s", j->node->name, j->node->address);
		const char *fields[] = { "address", j->node->address, NULL };
		lx_event(m, "node", "node-joined", "", j->node->name, j->node->name, fields);
		struct lx_node *n = lx_node_add(m, j->node);
		j->node = NULL;
		if (n)
			lx_link_start(n);
		lx_link_tell_peers(m);
	}
	join_free(j);
}

/* "host:port" for the agent: what it said, or the address it came from with its port. */
static char *agent_address(const struct lx_peer *peer, const char *said)
{
	const char *colon = strrchr(said, ':');
	if (!colon)
		return NULL;
	bool any = colon == said || lx_starts_with(said, "0.0.0.0:") || lx_starts_with(said, "[::]:");
	if (!any)
		return strdup(said);
	const char *from = peer->kind == LX_PEER_TLS ? peer->address : "127.0.0.1:0";
	const char *end = strrchr(from, ':');
	return end ? lx_asprintf("%.*s%s", (int)(end - from), from, colon) : NULL;
}

static void api_join(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__JoinRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct join *j = NULL;
	struct lx_txn *txn = NULL;
	lx_autofree char *address = NULL;
	lx_autofree uint8_t *spec = NULL;
	char hash[LX_HASH_TEXT], fp[65];
	size_t len;

	if (lx_name_check("node", req->name, &err) < 0)
		goto fail;
	if (strlen(req->csr_pem) > CSR_MAX || strlen(req->address) > 300) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "the join request of %s is too large", req->name);
		goto fail;
	}
	lx_secret_hash(req->secret, hash);
	j = calloc(1, sizeof(*j));
	txn = lx_txn_new(NULL);
	if (!j || !txn || !(j->node = malloc(sizeof(*j->node)))) {
		lx_err_oom(&err);
		goto fail;
	}
	lxmgr__v1__node__init(j->node);
	address = agent_address(lx_call_peer(call), req->address);
	if (!address) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "\"%s\" is not an address with a port", req->address);
		goto fail;
	}
	if (lx_ca_sign(m, req->csr_pem, req->name, "agent", &j->cert_pem, fp, &err) < 0)
		goto fail;
	j->node->joined_at_ns = (int64_t)lx_now_realtime_ns();
	j->node->status = LXMGR__V1__NODE_STATUS__NODE_STATUS_OFFLINE;
	if (lx_pb_set(&j->node->name, req->name) < 0 || lx_pb_set(&j->node->address, address) < 0 ||
	    lx_pb_set(&j->node->fingerprint, fp) < 0) {
		lx_err_oom(&err);
		goto fail;
	}
	spec = lx_pb_pack(&j->node->base, &len);
	if (!spec) {
		lx_err_oom(&err);
		goto fail;
	}
	/* The token goes and the node comes in one transaction. */
	lx_txn_exec(txn, "DELETE FROM tokens WHERE secret_hash = ?1 AND expires_at >= ?2 AND (node = '' OR "
			 "node = ?3)");
	lx_txn_text(txn, hash);
	lx_txn_int(txn, (int64_t)lx_now_realtime_ns());
	lx_txn_text(txn, req->name);
	lx_txn_expect(txn, 1, "no such token");
	lx_txn_exec(txn, "INSERT INTO nodes (name, spec) VALUES (?1, ?2)");
	lx_txn_text(txn, req->name);
	lx_txn_blob(txn, spec, len);
	if (lx_api_commit(m, call, lx_move_ptr(txn), on_joined, j, &err) < 0)
		goto fail;
	return;
fail:
	lx_txn_free(txn);
	join_free(j);
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ remove */

/* The instances of a node that never comes back: in the store they are gone already. */
static void forget_instances(struct lx_manager *m, const char *node)
{
	for (struct lx_map_entry *e = lx_map_first(&m->instances), *next; e; e = next) {
		struct lx_inst *inst = lx_map_value(e);
		struct lx_op *op = inst->op;
		next = lx_map_next(e);
		if (!lx_streq(inst->pb->node, node))
			continue;
		if (op) {
			struct lx_err why = LX_ERR_INIT;
			lx_err_set(&why, LX_ABORTED, "node %s was removed from the cluster", node);
			if (op->kind == &lx_op_move) {
				lx_move_source_removed(op, &why);
			} else {
				op->inst = NULL;
				inst->op = NULL;
				lx_op_end(op, &why, NULL, NULL);
			}
		}
		lx_event(m, "lifecycle", "instance-deleted", inst->pb->project, inst->pb->name, node, NULL);
		lx_inst_remove(m, inst);
	}
}

static void on_removed(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	lx_autofree char *name = data;
	Lxmgr__V1__RemoveNodeResponse reply = LXMGR__V1__REMOVE_NODE_RESPONSE__INIT;

	if (err->code == LX_OK) {
		forget_instances(m, name);
		lx_image_leave_node(m, lx_map_get(&m->nodes, name));
		lx_map_del(&m->nodes, name);
		lx_moves_target_removed(m, name);
		lx_moves_go_on(m);
		lx_link_tell_peers(m);
		lx_link_apply_networks(m);
		lx_info("node removed", "node=%s", name);
		lx_event(m, "node", "node-removed", "", name, name, NULL);
	}
	lx_api_answer(call, &reply.base, err);
}

/* Of an image that is on no other node, if there is one. */
static const Lxmgr__V1__Image *only_copy(const struct lx_manager *m, const struct lx_node *n)
{
	for (struct lx_map_entry *e = lx_map_first(&m->images); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Image *image = lx_map_value(e);
		if (image->n_nodes == 1 && lx_map_has(&n->images, image->fingerprint))
			return image;
	}
	return NULL;
}

/* Are there other nodes that could have it? */
static bool could_keep(const struct lx_manager *m)
{
	return lx_map_count(&m->nodes) > 1;
}

/* What is on its way there would be nowhere. */
static int check_arrivals(const struct lx_manager *m, const struct lx_node *n, bool force, struct lx_err *err)
{
	const struct lx_op *op = lx_move_to(m, n->pb->name);

	if (!op || (force && !lx_node_online(n)))
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s is being moved to node %s (operation %s)",
			   op->pb->subject, n->pb->name, op->pb->id);
	lx_err_hint(
		err,
		"Wait for it: lxmgr operation wait %.8s. When the node is offline and will never come back, "
		"--force takes back what was moving there.",
		op->pb->id);
	return r;
}

/* Forgetting what runs would leave it running, unseen; an image without a copy is of no use. */
static int check_removable(const struct lx_manager *m, const struct lx_node *n, bool force,
			   struct lx_err *err)
{
	if (check_arrivals(m, n, force, err) < 0)
		return -EBUSY;
	if (!n->pb->instances) {
		const Lxmgr__V1__Image *image = force || !could_keep(m) ? NULL : only_copy(m, n);
		if (!image)
			return 0;
		int r = lx_err_set(err, LX_FAILED_PRECONDITION,
				   "node %s has the only copy of image %.12s (%s)", n->pb->name,
				   image->fingerprint,
				   image->n_aliases ? image->aliases[0] : image->description);
		lx_err_hint(err,
			    "Fetch it to another node (lxmgr image fetch %.12s --target NODE), delete it, or "
			    "remove the node with --force.",
			    image->fingerprint);
		return r;
	}
	if (force && !lx_node_online(n))
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "node %s %s %u instance%s", n->pb->name,
			   force ? "is online and has" : "still has", n->pb->instances,
			   n->pb->instances == 1 ? "" : "s");
	lx_err_hint(err,
		    "Move them away first: lxmgr node evacuate %s. A node that will never come back can be "
		    "removed with all its instances by --force.",
		    n->pb->name);
	return r;
}

static void remove_node(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__NodeRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	const struct lx_node *n = lx_node_find(m, req->name, &err);

	lx_api_count_instances(m);
	if (!n || check_removable(m, n, req->force, &err) < 0) {
		lx_call_fail(call, &err);
		return;
	}
	char *name = strdup(req->name);
	struct lx_txn *txn = name ? lx_txn_new(NULL) : NULL;
	if (txn) {
		lx_txn_exec(txn, "DELETE FROM instances WHERE node = ?1");
		lx_txn_text(txn, req->name);
		lx_txn_exec(txn, "DELETE FROM nodes WHERE name = ?1");
		lx_txn_text(txn, req->name);
	}
	if (lx_api_commit(m, call, txn, on_removed, name, &err) < 0) {
		free(name);
		lx_call_fail(call, &err);
	}
}

LX_TURN_METHOD(api_remove, true, remove_node)

static const struct lx_method methods[] = {
	{ .name = "List", .unary = api_list },
	{ .name = "Get", .unary = api_get },
	{ .name = "CreateToken", .unary = api_create_token },
	{ .name = "Update", .unary = lx_api_node_update },
	{ .name = "SetAddress", .unary = lx_api_node_set_address },
	{ .name = "Evacuate", .unary = lx_api_node_evacuate },
	{ .name = "Restore", .unary = lx_api_node_restore },
	{ .name = "Remove", .unary = api_remove },
	{ .name = "Join", .unary = api_join },
};

const struct lx_service lx_api_nodes = { &lxmgr__v1__node_service__descriptor, methods,
					 LX_ARRAY_SIZE(methods) };
