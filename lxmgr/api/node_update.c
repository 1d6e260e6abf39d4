/*
 * NodeService.Update: what people say of a node, its labels and its cordon. Both matter to
 * placement only; nothing that runs is touched. Written down first, then changed in memory.
 */
#include "lxmgr/api/nodes.h"

#include <stdlib.h>

#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "profiles/labels.h"
#include "proto/pb.h"

static int check_labels(const Lxmgr__V1__UpdateNodeRequest *req, struct lx_err *err)
{
	int r = 0;

	if (req->n_set_labels > LX_LABELS_MAX || req->n_unset_labels > LX_LABELS_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "more than %d labels at once", LX_LABELS_MAX);
	for (size_t i = 0; r == 0 && i < req->n_set_labels; i++)
		if (!lx_label_key_valid(req->set_labels[i]->key) ||
		    !lx_label_value_valid(req->set_labels[i]->value))
			r = lx_err_set(err, LX_INVALID_ARGUMENT, "\"%.80s=%.80s\" is no label",
				       req->set_labels[i]->key, req->set_labels[i]->value);
	if (r < 0)
		lx_err_hint(
			err,
			"Keys and values have letters, digits and - _ . (keys also /), at most %d of them, "
			"with a letter or digit at both ends.",
			LX_LABEL_MAX);
	return r;
}

static int check(const struct lx_node *n, const Lxmgr__V1__UpdateNodeRequest *req, struct lx_err *err)
{
	int r = check_labels(req, err);

	if (r < 0)
		return r;
	if (req->cordon && req->uncordon)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "a node cannot be cordoned and uncordoned at once");
	for (size_t i = 0; i < req->n_unset_labels; i++) {
		if (lx_pb_map_get(n->pb->n_labels, n->pb->labels, req->unset_labels[i]))
			continue;
		r = lx_err_set(err, LX_NOT_FOUND, "node %s has no label %.80s", n->pb->name,
			       req->unset_labels[i]);
		lx_err_hint(err, "lxmgr node show %s lists them.", n->pb->name);
		return r;
	}
	return 0;
}

Lxmgr__V1__Node *lx_api_node_lasting(const struct lx_node *n)
{
	Lxmgr__V1__Node *next = LX_PB_DUP(Lxmgr__V1__Node, n->pb);

	if (!next)
		return NULL;
	lx_pb_free(next->facts);
	next->facts = NULL;
	next->status = LXMGR__V1__NODE_STATUS__NODE_STATUS_OFFLINE;
	next->instances = 0;
	next->last_seen_ns = 0;
	lx_pb_set(&next->status_reason, NULL);
	return next;
}

void lx_api_node_set_cordon(struct lx_node *n, bool cordon)
{
	if (n->pb->cordoned == cordon)
		return;
	n->pb->cordoned = cordon;
	lx_info(cordon ? "node cordoned" : "node uncordoned", "node=%s", n->pb->name);
	lx_event(n->m, "node", cordon ? "node-cordoned" : "node-uncordoned", "", n->pb->name, n->pb->name,
		 NULL);
}

/* What lasts of the node, with the changes. NULL: no memory. */
static Lxmgr__V1__Node *changed(const struct lx_node *n, const Lxmgr__V1__UpdateNodeRequest *req)
{
	Lxmgr__V1__Node *next = lx_api_node_lasting(n);

	if (!next)
		return NULL;
	next->cordoned = req->cordon || (n->pb->cordoned && !req->uncordon);
	for (size_t i = 0; i < req->n_unset_labels; i++)
		lx_pb_map_del(&next->n_labels, &next->labels, req->unset_labels[i]);
	for (size_t i = 0; i < req->n_set_labels; i++) {
		if (lx_pb_map_set(&lxmgr__v1__node__labels_entry__descriptor, &next->n_labels, &next->labels,
				  req->set_labels[i]->key, req->set_labels[i]->value) == 0)
			continue;
		lx_pb_free(next);
		return NULL;
	}
	return next;
}

static void on_stored(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	Lxmgr__V1__Node *next = data;
	struct lx_node *n = lx_map_get(&m->nodes, next->name);
	struct lx_err e = *err;

	if (e.code == LX_OK && !n)
		lx_err_set(&e, LX_NOT_FOUND, "node %s was removed meanwhile", next->name);
	if (e.code == LX_OK) {
		lx_api_node_set_cordon(n, next->cordoned);
		lx_pb_map_clear(&n->pb->n_labels, &n->pb->labels);
		n->pb->n_labels = next->n_labels;
		n->pb->labels = next->labels;
		next->n_labels = 0;
		next->labels = NULL;
		lx_api_count_instances(m);
	}
	lx_api_answer(call, n ? &n->pb->base : NULL, &e);
	lx_pb_free(next);
}

static void update(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__UpdateNodeRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__Node *next = NULL;
	const struct lx_node *n = lx_node_find(m, req->name, &err);

	if (!n || check(n, req, &err) < 0)
		goto fail;
	next = changed(n, req);
	if (!next) {
		lx_err_oom(&err);
		goto fail;
	}
	if (next->n_labels > LX_LABELS_MAX) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "node %s would have more than %d labels", req->name,
			   LX_LABELS_MAX);
		goto fail;
	}
	struct lx_txn *txn =
		lx_txn_named_spec("UPDATE nodes SET spec = ?2 WHERE name = ?1", req->name, &next->base);

	if (lx_api_commit(m, call, txn, on_stored, next, &err) == 0)
		return;
fail:
	lx_pb_free(next);
	lx_call_fail(call, &err);
}

void lx_api_node_update(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	lx_turn_take(arg, call, msg, true, update);
}
