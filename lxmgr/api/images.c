/* ImageService: list, get, update, delete, build. Import and export have files of their own. */
#include "lxmgr/api/images.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "images/ref.h"
#include "images/template.h"
#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/api/accept.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/quota.h"
#include "proto/pb.h"

#define MAX_PACKAGES   256u
#define MAX_PROPERTIES 256u
#define MAX_PROPERTY   4096u
#define MAX_FILTERS    64u

/* ------------------------------------------------------------------ list and get */

static void api_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ListImagesRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	Lxmgr__V1__ListImagesResponse resp = LXMGR__V1__LIST_IMAGES_RESPONSE__INIT;
	struct lx_scope scope;
	lx_autofree Lxmgr__V1__Image **list = calloc(lx_map_count(&m->images) + 1, sizeof(*list));

	lx_scope_of(m, call, &scope);
	if (!list || req->n_filters > MAX_FILTERS) {
		lx_call_failf(call, list ? LX_INVALID_ARGUMENT : LX_RESOURCE_EXHAUSTED,
			      list ? "too many filters" : "out of memory");
		return;
	}
	resp.images = list;
	for (struct lx_map_entry *e = lx_map_first(&m->images); e; e = lx_map_next(e)) {
		Lxmgr__V1__Image *image = lx_map_value(e);
		bool wanted = !req->n_filters;
		if (!lx_scope_sees_shared(&scope, image->project))
			continue;
		for (size_t i = 0; i < req->n_filters && !wanted; i++)
			wanted = lx_image_matches(image, req->filters[i]);
		if (wanted)
			list[resp.n_images++] = image;
	}
	lx_call_reply(call, &resp.base);
}

static void api_get(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ImageRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__Image *img = lx_image_find(arg, lx_call_project(call), req->image, &err);
	if (img)
		lx_call_reply(call, &img->base);
	else
		lx_call_fail(call, &err);
}

int lx_api_check_properties(size_t n, const void *entries, struct lx_err *err)
{
	struct lx_pb_entry *const *v = entries;
	if (n > MAX_PROPERTIES)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "more than %u properties", MAX_PROPERTIES);
	for (size_t i = 0; i < n; i++)
		if (lx_str_empty(v[i]->key) || strlen(v[i]->key) > MAX_PROPERTY ||
		    strlen(v[i]->value) > MAX_PROPERTY)
			return lx_err_set(err, LX_INVALID_ARGUMENT,
					  "an image property needs a name and at most %u bytes",
					  MAX_PROPERTY);
	return 0;
}

/* ------------------------------------------------------------------ update */

struct image_change {
	Lxmgr__V1__UpdateImageRequest *req;
	Lxmgr__V1__Image *next;
};

static void change_free(struct image_change *u)
{
	if (!u)
		return;
	lx_pb_free(u->req);
	lx_pb_free(u->next);
	free(u);
}

static void on_updated(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	struct image_change *u = data;
	struct lx_err e = *err;
	Lxmgr__V1__Image *img = lx_image_get(m, u->next->project, u->next->fingerprint);

	if (e.code == LX_OK && !img)
		lx_err_set(&e, LX_NOT_FOUND, "image %.12s was deleted meanwhile", u->next->fingerprint);
	if (e.code == LX_OK) {
		lx_pb_map_clear(&img->n_properties, &img->properties);
		img->n_properties = u->next->n_properties;
		img->properties = u->next->properties;
		u->next->n_properties = 0;
		u->next->properties = NULL;
		for (size_t i = 0; i < u->req->n_remove_aliases; i++)
			lx_image_take_alias(m, img->project, u->req->remove_aliases[i], NULL);
		for (size_t i = 0; i < u->req->n_add_aliases; i++)
			lx_image_take_alias(m, img->project, u->req->add_aliases[i], img);
	}
	lx_api_answer(call, img ? &img->base : NULL, &e);
	change_free(u);
}

/* NULL: out of memory. */
static struct lx_txn *change_txn(const Lxmgr__V1__Image *img, const char *key, const struct image_change *u)
{
	struct lx_txn *txn =
		lx_txn_named_spec("UPDATE images SET spec = ?2 WHERE fingerprint = ?1", key, &u->next->base);
	int r = txn ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < u->req->n_remove_aliases; i++) {
		lx_autofree char *alias = lx_scoped(img->project, u->req->remove_aliases[i]);

		if (!alias)
			r = -ENOMEM;
		lx_txn_exec(txn, "DELETE FROM image_aliases WHERE alias = ?1");
		lx_txn_text(txn, alias);
	}
	for (size_t i = 0; r == 0 && i < u->req->n_add_aliases; i++)
		r = lx_image_alias_txn(txn, img, u->req->add_aliases[i], u->req->move_aliases);
	if (r == 0)
		return txn;
	lx_txn_free(txn);
	return NULL;
}

static void update(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__UpdateImageRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct image_change *u = NULL;
	struct lx_txn *txn = NULL;
	const char *project = lx_call_project(call);
	const Lxmgr__V1__Image *img = lx_image_find_own(m, project, req->image, &err);
	lx_autofree char *key = img ? lx_scoped(project, img->fingerprint) : NULL;

	if (!img || lx_api_check_properties(req->n_set_properties, req->set_properties, &err) < 0)
		goto fail;
	if (req->n_add_aliases > MAX_ALIASES || req->n_remove_aliases > MAX_ALIASES) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "more than %u aliases", MAX_ALIASES);
		goto fail;
	}
	if (lx_image_check_aliases(m, project, req->n_add_aliases, req->add_aliases, req->move_aliases,
				   &err) < 0)
		goto fail;
	for (size_t i = 0; i < req->n_remove_aliases; i++) {
		if (lx_image_of_alias(m, project, req->remove_aliases[i]) != img) {
			lx_err_set(&err, LX_NOT_FOUND, "image %.12s has no alias %s", img->fingerprint,
				   req->remove_aliases[i]);
			goto fail;
		}
	}
	size_t n_aliases = img->n_aliases - req->n_remove_aliases;
	for (size_t i = 0; i < req->n_add_aliases; i++)
		n_aliases += lx_image_of_alias(m, project, req->add_aliases[i]) != img;
	if (n_aliases > MAX_ALIASES) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "image %.12s would have more than %u aliases",
			   img->fingerprint, MAX_ALIASES);
		goto fail;
	}
	u = calloc(1, sizeof(*u));
	if (!u || !(u->req = LX_PB_DUP(Lxmgr__V1__UpdateImageRequest, req)) ||
	    !(u->next = LX_PB_DUP(Lxmgr__V1__Image, img))) {
		lx_err_oom(&err);
		goto fail;
	}
	lx_pb_strv_free(&u->next->n_aliases, &u->next->aliases);
	lx_pb_strv_free(&u->next->n_nodes, &u->next->nodes);
	for (size_t i = 0; i < req->n_unset_properties; i++)
		lx_pb_map_del(&u->next->n_properties, &u->next->properties, req->unset_properties[i]);
	for (size_t i = 0; i < req->n_set_properties; i++) {
		if (lx_pb_map_set(&lxmgr__v1__image__properties_entry__descriptor, &u->next->n_properties,
				  &u->next->properties, req->set_properties[i]->key,
				  req->set_properties[i]->value) < 0) {
			lx_err_oom(&err);
			goto fail;
		}
	}
	if (u->next->n_properties > MAX_PROPERTIES) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "image %.12s would have more than %u properties",
			   img->fingerprint, MAX_PROPERTIES);
		goto fail;
	}
	txn = key ? change_txn(img, key, u) : NULL;
	if (lx_api_commit(m, call, txn, on_updated, u, &err) == 0)
		return;
fail:
	change_free(u);
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ delete */

/* Is it what the instance is made of? A shared one counts for those that have no such one themselves. */
static bool is_of(struct lx_manager *m, const struct lx_inst *inst, const Lxmgr__V1__Image *img)
{
	return lx_streq(inst->pb->image_fingerprint, img->fingerprint) &&
	       lx_project_uses(inst->pb->project, img->project) &&
	       (lx_same_project(inst->pb->project, img->project) ||
		!lx_image_get(m, inst->pb->project, img->fingerprint));
}

static int check_unused(struct lx_manager *m, const Lxmgr__V1__Image *img, struct lx_err *err)
{
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);
		char shown[LX_SHOWN_NAME_MAX];
		if (!is_of(m, inst, img))
			continue;
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "image %.12s is used by instance %s",
				   img->fingerprint, lx_inst_shown(inst->pb, img->project, shown));
		lx_err_hint(
			err,
			"Instances share their image's files. lxmgr list image=%.12s shows all that use it.",
			img->fingerprint);
		return r;
	}
	if (lx_image_is_going(m, img))
		return lx_err_set(err, LX_FAILED_PRECONDITION, "image %.12s is being deleted already",
				  img->fingerprint);
	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e)) {
		const struct lx_op *op = lx_map_value(e);
		if (op->kind != &lx_op_image_fetch || lx_op_ended(op) ||
		    !lx_streq(op->pb->subject, img->fingerprint))
			continue;
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "image %.12s is being fetched by a node",
				   img->fingerprint);
		lx_err_hint(err,
			    "Wait for it (lxmgr operation wait %.8s) or cancel it (lxmgr operation "
			    "cancel %.8s).",
			    op->pb->id, op->pb->id);
		return r;
	}
	return 0;
}

static void api_delete(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ImageRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_op *op;

	if (lx_api_repeated(m, call, req->request_id, &lx_op_image_delete, ""))
		return;
	Lxmgr__V1__Image *img = lx_image_find_own(m, lx_call_project(call), req->image, &err);
	if (!img || check_unused(m, img, &err) < 0)
		goto fail;
	op = lx_op_new(m, &lx_op_image_delete, img->project, img->fingerprint, msg, req->request_id,
		       lx_call_peer(call), &err);
	if (op && lx_api_accept(call, op, NULL, &err) == 0)
		return;
fail:
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ build */

static void api_build(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__BuildImageRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	const char *subject = req->n_aliases ? req->aliases[0] : req->template_;
	const char *project = lx_call_project(call);
	struct lx_op *op;
	struct lx_node *node;

	if (lx_api_repeated(m, call, req->request_id, &lx_op_image_build, subject))
		return;
	if (req->n_aliases > MAX_ALIASES || req->n_packages > MAX_PACKAGES) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "at most %u aliases and %u packages", MAX_ALIASES,
			   MAX_PACKAGES);
		goto fail;
	}
	if (!lx_template_find(req->template_)) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "there is no image template %s", req->template_);
		lx_err_hint(&err, "Templates: " LX_TEMPLATE_NAMES ".");
		goto fail;
	}
	if (lx_image_check_aliases(m, project, req->n_aliases, req->aliases, req->move_aliases, &err) < 0 ||
	    lx_project_room(m, project, LX_QUOTA_IMAGES, &err) < 0)
		goto fail;
	node = lx_place(m, NULL, req->node, &err);
	if (!node)
		goto fail;
	op = lx_op_new(m, &lx_op_image_build, project, subject, msg, req->request_id, lx_call_peer(call),
		       &err);
	if (!op)
		goto fail;
	if (lx_pb_set(&op->pb->node, node->pb->name) < 0) {
		lx_op_free(op);
		lx_err_oom(&err);
		goto fail;
	}
	if (lx_api_accept(call, op, NULL, &err) == 0)
		return;
fail:
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ fetch */

static int check_fetch(struct lx_manager *m, const Lxmgr__V1__Image *img, const char *node,
		       struct lx_err *err)
{
	if (lx_image_is_going(m, img))
		return lx_err_set(err, LX_FAILED_PRECONDITION, "image %.12s is being deleted",
				  img->fingerprint);
	if (!lx_str_empty(node))
		return lx_place(m, img, node, err) ? 0 : -1;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "the request does not say which node is to have it");

	lx_err_hint(err, "lxmgr image fetch %.12s --target NODE", img->fingerprint);
	return r;
}

static void api_fetch(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__FetchImageRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_op *op;

	if (lx_api_repeated(m, call, req->request_id, &lx_op_image_fetch, ""))
		return;
	const char *project = lx_call_project(call);
	const Lxmgr__V1__Image *img = lx_image_find(m, project, req->image, &err);
	if (!img || check_fetch(m, img, req->node, &err) < 0)
		goto fail;
	op = lx_op_new(m, &lx_op_image_fetch, project, img->fingerprint, msg, req->request_id,
		       lx_call_peer(call), &err);
	if (!op)
		goto fail;
	if (lx_pb_set(&op->pb->node, req->node) < 0) {
		lx_op_free(op);
		lx_err_oom(&err);
		goto fail;
	}
	if (lx_api_accept(call, op, NULL, &err) == 0)
		return;
fail:
	lx_call_fail(call, &err);
}

LX_TURN_METHOD(api_update, true, update)

static const struct lx_method methods[] = {
	{ .name = "List", .unary = api_list },
	{ .name = "Get", .unary = api_get },
	{ .name = "Delete", .unary = api_delete },
	{ .name = "Update", .unary = api_update },
	{ .name = "Import", .client_stream = true, .server_stream = true, .open = lx_api_image_import },
	{ .name = "Export", .server_stream = true, .raw = true, .open = lx_api_image_export },
	{ .name = "Build", .unary = api_build },
	{ .name = "Fetch", .unary = api_fetch },
};

const struct lx_service lx_api_images = { &lxmgr__v1__image_service__descriptor, methods,
					  LX_ARRAY_SIZE(methods) };
