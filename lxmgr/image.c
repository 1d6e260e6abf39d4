/*
 * Images as the cluster knows them: which there are, whose, under which names, on which nodes. A
 * project has an image as its own, with names and properties; nodes keep it once for all.
 */
#include "lxmgr/manager.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "images/ref.h"
#include "lib/clock.h"
#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

/* ------------------------------------------------------------------ finding */

Lxmgr__V1__Image *lx_image_get(struct lx_manager *m, const char *project, const char *fingerprint)
{
	lx_autofree char *key = lx_scoped(project, fingerprint);

	return key ? lx_map_get(&m->images, key) : NULL;
}

Lxmgr__V1__Image *lx_image_of_alias(struct lx_manager *m, const char *project, const char *alias)
{
	lx_autofree char *key = lx_scoped(project, alias);

	return key ? lx_map_get(&m->aliases, key) : NULL;
}

const Lxmgr__V1__Image *lx_image_any(const struct lx_manager *m, const char *fingerprint)
{
	const Lxmgr__V1__Image *found = NULL;

	for (struct lx_map_entry *e = lx_map_first(&m->images); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Image *image = lx_map_value(e);

		if (!lx_streq(image->fingerprint, fingerprint))
			continue;
		found = image;
		if (!lx_image_is_going(m, image))
			break;
	}
	return found;
}

/* One of the project's own that is called exactly so. */
static Lxmgr__V1__Image *find_exactly(struct lx_manager *m, const char *project, const char *what)
{
	Lxmgr__V1__Image *found = lx_image_of_alias(m, project, what);

	return found ? found : lx_image_get(m, project, what);
}

/* Those that a name may mean: the project's own, and with `shared` those that it does not hide. */
static size_t candidates(struct lx_manager *m, const char *project, bool shared, Lxmgr__V1__Image **list)
{
	size_t n = 0;

	for (struct lx_map_entry *e = lx_map_first(&m->images); e; e = lx_map_next(e)) {
		Lxmgr__V1__Image *image = lx_map_value(e);

		if (lx_same_project(image->project, project) ||
		    (shared && lx_project_is_default(image->project) &&
		     !lx_image_get(m, project, image->fingerprint)))
			list[n++] = image;
	}
	return n;
}

static Lxmgr__V1__Image *find(struct lx_manager *m, const char *project, const char *what, bool shared,
			      struct lx_err *err)
{
	Lxmgr__V1__Image *found = strchr(what, ':') ? NULL : find_exactly(m, project, what);

	if (!found && shared && !strchr(what, ':'))
		found = find_exactly(m, LX_PROJECT_DEFAULT, what);
	if (found)
		return found;
	lx_autofree Lxmgr__V1__Image **list = calloc(lx_map_count(&m->images) + 1, sizeof(*list));
	const Lxmgr__V1__Image *image;
	if (!list) {
		lx_err_oom(err);
		return NULL;
	}
	if (lx_image_resolve(what, list, candidates(m, project, shared, list), &image, err) < 0)
		return NULL;
	return lx_image_get(m, image->project, image->fingerprint);
}

Lxmgr__V1__Image *lx_image_find(struct lx_manager *m, const char *project, const char *what,
				struct lx_err *err)
{
	return find(m, project, what, true, err);
}

Lxmgr__V1__Image *lx_image_find_own(struct lx_manager *m, const char *project, const char *what,
				    struct lx_err *err)
{
	Lxmgr__V1__Image *own = find(m, project, what, false, err);

	if (!own && !lx_project_is_default(project) && find(m, project, what, true, NULL)) {
		lx_err_set(err, LX_PERMISSION_DENIED, "image %s is shared: it belongs to project %s", what,
			   LX_PROJECT_DEFAULT);
		lx_err_hint(err, "It can be changed there only: --project %s", LX_PROJECT_DEFAULT);
	}
	return own;
}

bool lx_image_is_going(const struct lx_manager *m, const Lxmgr__V1__Image *image)
{
	for (struct lx_map_entry *e = lx_map_first(&m->ops); e; e = lx_map_next(e)) {
		const struct lx_op *op = lx_map_value(e);
		if (op->kind == &lx_op_image_delete && !lx_op_ended(op) &&
		    lx_streq(op->pb->subject, image->fingerprint) &&
		    lx_same_project(op->pb->project, image->project))
			return true;
	}
	return false;
}

int lx_image_check_aliases(struct lx_manager *m, const char *project, size_t n, char *const *aliases,
			   bool move, struct lx_err *err)
{
	for (size_t i = 0; i < n; i++) {
		int r = lx_alias_check(aliases[i], err);
		const Lxmgr__V1__Image *has = r < 0 ? NULL : lx_image_of_alias(m, project, aliases[i]);

		if (r < 0)
			return r;
		if (!move && has) {
			r = lx_err_set(err, LX_ALREADY_EXISTS, "alias %s is taken by image %.12s", aliases[i],
				       has->fingerprint);
			lx_err_hint(err, "Choose another alias, or take it away from that image: --reuse.");
			return r;
		}
	}
	return 0;
}

int lx_image_alias_txn(struct lx_txn *txn, const Lxmgr__V1__Image *image, const char *alias, bool move)
{
	lx_autofree char *key = lx_scoped(image->project, alias);
	lx_autofree char *of = lx_scoped(image->project, image->fingerprint);

	if (!key || !of)
		return -ENOMEM;
	lx_txn_exec(txn, move ? "INSERT INTO image_aliases (alias, fingerprint) VALUES (?1, ?2)"
				" ON CONFLICT (alias) DO UPDATE SET fingerprint = excluded.fingerprint"
			      : "INSERT INTO image_aliases (alias, fingerprint) VALUES (?1, ?2)"
				" ON CONFLICT (alias) DO UPDATE SET fingerprint = excluded.fingerprint"
				" WHERE fingerprint = excluded.fingerprint");
	lx_txn_text(txn, key);
	lx_txn_text(txn, of);
	lx_txn_expect(txn, 1, "another image has got the alias meanwhile");
	return 0;
}

static void drop_alias(struct lx_manager *m, const char *project, const char *alias)
{
	lx_autofree char *key = lx_scoped(project, alias);
	Lxmgr__V1__Image *img = key ? lx_map_get(&m->aliases, key) : NULL;

	if (!img)
		return;
	lx_map_del(&m->aliases, key);
	for (size_t i = 0; i < img->n_aliases; i++) {
		if (!lx_streq(img->aliases[i], alias))
			continue;
		free(img->aliases[i]); /* may be `alias` itself */
		memmove(&img->aliases[i], &img->aliases[i + 1], (img->n_aliases - i - 1) * sizeof(char *));
		img->n_aliases--;
		break;
	}
}

void lx_image_take_alias(struct lx_manager *m, const char *project, const char *alias,
			 Lxmgr__V1__Image *image)
{
	lx_autofree char *key = image ? lx_scoped(project, alias) : NULL;

	drop_alias(m, project, alias);
	if (key && lx_pb_strv_add(&image->n_aliases, &image->aliases, alias) == 0)
		(void)lx_map_set(&m->aliases, key, image);
}

/* ------------------------------------------------------------------ adding */

struct add {
	struct lx_manager *m;
	Lxmgr__V1__Image *pb;
	size_t n_aliases;
	char **aliases;
	bool move_aliases;
	lx_image_cb cb;
	void *arg;
};

static void add_free(struct add *a)
{
	lx_pb_free(a->pb);
	lx_pb_strv_free(&a->n_aliases, &a->aliases);
	free(a);
}

static void on_stored(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct add *a = arg;
	struct lx_manager *m = a->m;
	Lxmgr__V1__Image *img = NULL;
	struct lx_err e = *err, taken = LX_ERR_INIT;

	/* By who was first, meanwhile: it has it in memory by now. */
	if (e.code == LX_ABORTED &&
	    lx_image_check_aliases(m, a->pb->project, a->n_aliases, a->aliases, a->move_aliases, &taken) < 0)
		e = taken;
	if (e.code == LX_OK) {
		lx_autofree char *key = lx_scoped(a->pb->project, a->pb->fingerprint);

		img = key ? lx_map_get(&m->images, key) : NULL;
		if (key && !img && lx_map_set(&m->images, key, a->pb) == 0) {
			img = a->pb;
			a->pb = NULL;
		}
		if (!img)
			lx_err_oom(&e);
	}
	if (img) {
		for (size_t i = 0; i < a->n_aliases; i++)
			lx_image_take_alias(m, img->project, a->aliases[i], img);
		/* Nodes that reported it before it had a name. */
		for (struct lx_map_entry *n = lx_map_first(&m->nodes); n; n = lx_map_next(n)) {
			struct lx_node *node = lx_map_value(n);
			if (lx_map_has(&node->images, img->fingerprint))
				lx_image_on_node(m, node, img->fingerprint, true);
		}
		const char *fields[] = { "alias", img->n_aliases ? img->aliases[0] : "", NULL };
		lx_event(m, "lifecycle", "image-created", img->project, img->fingerprint, "", fields);
	}
	a->cb(img, &e, a->arg);
	add_free(a);
}

int lx_image_add(struct lx_manager *m, const char *project, const Lxmgr__V1__Image *pb, size_t n_aliases,
		 char *const *aliases, bool move_aliases, lx_image_cb cb, void *arg, struct lx_err *err)
{
	int r = lx_image_check_aliases(m, project, n_aliases, aliases, move_aliases, err);
	if (r < 0)
		return r;
	lx_autofree char *key = lx_scoped(project, pb->fingerprint);
	struct add *a = calloc(1, sizeof(*a));
	struct lx_txn *txn = lx_txn_new(NULL);
	lx_autofree uint8_t *spec = NULL;
	size_t len;
	if (!a || !txn)
		goto oom;
	a->m = m;
	a->cb = cb;
	a->arg = arg;
	a->move_aliases = move_aliases;
	a->pb = LX_PB_DUP(Lxmgr__V1__Image, pb);
	if (!key || !a->pb || lx_pb_strv_copy(&a->n_aliases, &a->aliases, n_aliases, aliases) < 0 ||
	    lx_pb_set(&a->pb->project, project) < 0)
		goto oom;
	/* Names and places are kept elsewhere. */
	lx_pb_strv_free(&a->pb->n_aliases, &a->pb->aliases);
	lx_pb_strv_free(&a->pb->n_nodes, &a->pb->nodes);
	if (!a->pb->imported_at_ns)
		a->pb->imported_at_ns = (int64_t)lx_now_realtime_ns();
	spec = lx_pb_pack(&a->pb->base, &len);
	if (!spec)
		goto oom;
	lx_txn_exec(txn, "INSERT INTO images (fingerprint, spec) VALUES (?1, ?2) ON CONFLICT DO NOTHING");
	lx_txn_text(txn, key);
	lx_txn_blob(txn, spec, len);
	for (size_t i = 0; i < n_aliases; i++)
		if (lx_image_alias_txn(txn, a->pb, aliases[i], move_aliases) < 0)
			goto oom;
	r = lx_store_submit(m->store, txn, on_stored, a, err);
	if (r < 0)
		add_free(a);
	return r;
oom:
	if (a)
		add_free(a);
	lx_txn_free(txn);
	return lx_err_oom(err);
}

static void list_nodes(struct lx_manager *m, Lxmgr__V1__Image *img)
{
	lx_pb_strv_free(&img->n_nodes, &img->nodes);
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e)) {
		struct lx_node *n = lx_map_value(e);
		if (lx_map_has(&n->images, img->fingerprint))
			lx_pb_strv_add(&img->n_nodes, &img->nodes, n->pb->name);
	}
}

void lx_image_on_node(struct lx_manager *m, struct lx_node *node, const char *fingerprint, bool there)
{
	if (!node)
		return;
	if (there)
		lx_map_set(&node->images, fingerprint, (void *)1);
	else
		lx_map_del(&node->images, fingerprint);
	for (struct lx_map_entry *e = lx_map_first(&m->images); e; e = lx_map_next(e)) {
		Lxmgr__V1__Image *img = lx_map_value(e);
		if (lx_streq(img->fingerprint, fingerprint))
			list_nodes(m, img);
	}
}

void lx_image_leave_node(struct lx_manager *m, struct lx_node *node)
{
	lx_map_release(&node->images);
	for (struct lx_map_entry *e = lx_map_first(&m->images); e; e = lx_map_next(e))
		list_nodes(m, lx_map_value(e));
}

void lx_image_forget(struct lx_manager *m, const char *project, const char *fingerprint)
{
	lx_autofree char *key = lx_scoped(project, fingerprint);
	Lxmgr__V1__Image *img = key ? lx_map_get(&m->images, key) : NULL;

	if (!img)
		return;
	while (img->n_aliases)
		drop_alias(m, project, img->aliases[0]);
	lx_map_del(&m->images, key);
}
