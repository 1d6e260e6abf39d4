/*
 * Warnings and denials over a real store: there after a restart, bounded, and who has to make room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/fs.h"
#include "lib/str.h"
#include "lxmgr/warnings/warnings.h"
#include "proto/pb.h"

#define UUID "00000000-0000-4000-8000-000000000001"

struct fixture {
	char dir[64];
	uv_loop_t loop;
	struct lx_manager m;
	struct lx_node *node;
	struct lx_inst *inst;
};

static void on_done(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	assert_int_equal(err->code, LX_OK);
}

/* Its row, without which nothing of it is kept. */
static void put_row(struct fixture *f)
{
	struct lx_txn *txn = lx_txn_new(NULL);

	lx_txn_exec(txn,
		    "INSERT OR IGNORE INTO instances (uuid, name, node, generation, idmap_base, image, spec)"
		    " VALUES (?1, 'web1', 'n1', 1, 1000000000, '', x'00')");
	lx_txn_text(txn, UUID);
	assert_int_equal(lx_store_submit(f->m.store, txn, on_done, NULL, NULL), 0);
}

static void manager_open(struct fixture *f)
{
	struct lx_manager *m = &f->m;
	Lxmgr__V1__Node *node = malloc(sizeof(*node));
	Lxmgr__V1__Instance *inst = malloc(sizeof(*inst));
	struct lx_err err = LX_ERR_INIT;
	char db[96];

	memset(m, 0, sizeof(*m));
	assert_int_equal(uv_loop_init(&f->loop), 0);
	m->loop = &f->loop;
	m->opt.state_dir = f->dir;
	lx_map_init(&m->nodes, lx_node_free);
	lx_map_init(&m->instances, lx_inst_free);
	lx_map_init(&m->instances_by_uuid, NULL);
	TAILQ_INIT(&m->subscribers);
	snprintf(db, sizeof(db), "%s/store.db", f->dir);
	assert_int_equal(lx_store_open(m->loop, db, &lx_manager_schema, &m->store, &err), 0);
	lxmgr__v1__node__init(node);
	lxmgr__v1__instance__init(inst);
	assert_int_equal(lx_pb_set(&node->name, "n1"), 0);
	assert_int_equal(lx_pb_set(&inst->name, "web1"), 0);
	assert_int_equal(lx_pb_set(&inst->uuid, UUID), 0);
	assert_int_equal(lx_pb_set(&inst->node, "n1"), 0);
	f->node = lx_node_add(m, node);
	f->inst = lx_inst_add(m, inst);
	assert_true(f->node && f->inst);
	put_row(f);
	if (lx_warnings_open(m, &err) < 0)
		fail_msg("%s", err.msg);
}

static void close_any(uv_handle_t *h, void *arg)
{
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

static void manager_close(struct fixture *f)
{
	lx_warnings_close(&f->m);
	f->m.stopping = true;
	lx_store_close(f->m.store);
	lx_map_release(&f->m.instances_by_uuid);
	lx_map_release(&f->m.instances);
	lx_map_release(&f->m.nodes);
	uv_walk(&f->loop, close_any, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	lx_warnings_free(&f->m);
	assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void restart(struct fixture *f)
{
	manager_close(f);
	manager_open(f);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	strcpy(f->dir, "/tmp/lx-test-warnings.XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	manager_open(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	manager_close(f);
	int r = lx_rm_rf(f->dir, NULL);

	free(f);
	return r;
}

static const struct lx_warning_of away = { "node-offline", "node", "n1", "n1", LX_SEVERITY_HIGH };

/* The one with that id. */
static const Lxmgr__V1__Warning *warning(struct fixture *f, uint64_t id)
{
	const struct lx_warning *w = lx_warning_find(&f->m, id, NULL);

	return w ? w->pb : NULL;
}

/* ------------------------------------------------------------------ warnings */

static void holds_and_is_resolved(void **state)
{
	struct fixture *f = *state;

	lx_warning_hold(&f->m, &away, "away");
	lx_warning_hold(&f->m, &away, "away");
	assert_int_equal(lx_map_count(&f->m.warnings->by_id), 1);
	assert_int_equal(warning(f, 1)->count, 1);
	restart(f);
	lx_warning_hold(&f->m, &away, "away, and why");
	assert_int_equal(warning(f, 1)->count, 1);
	assert_string_equal(warning(f, 1)->message, "away, and why");
	lx_warning_resolve(&f->m, &away);
	restart(f);
	assert_int_equal(warning(f, 1)->status, LXMGR__V1__WARNING_STATUS__WARNING_STATUS_RESOLVED);
	lx_warning_hold(&f->m, &away, "away");
	assert_int_equal(warning(f, 1)->status, LXMGR__V1__WARNING_STATUS__WARNING_STATUS_NEW);
	assert_int_equal(warning(f, 1)->count, 2);
	/* What was never there is no matter. */
	const struct lx_warning_of other = { .type = "x", .entity = "node", .name = "n1" };

	lx_warning_resolve(&f->m, &other);
}

static void ids_are_not_used_twice(void **state)
{
	struct fixture *f = *state;

	lx_warning_hold(&f->m, &away, "away");
	restart(f);
	lx_warnings_remove_of(&f->m, "node", "n1");
	restart(f);
	assert_int_equal(lx_map_count(&f->m.warnings->by_id), 0);
	lx_warning_hold(&f->m, &away, "away");
	assert_non_null(warning(f, 2));
}

static void are_bounded(void **state)
{
	struct fixture *f = *state;
	struct lx_warning_of of = { "t", "cluster", NULL, NULL, LX_SEVERITY_LOW };
	char name[32];

	of.name = name;
	for (unsigned i = 0; i < LX_WARNINGS_MAX; i++) {
		snprintf(name, sizeof(name), "w%u", i);
		lx_warning_raise(&f->m, &of, 1, "m");
	}
	strcpy(name, "w5");
	lx_warning_resolve(&f->m, &of);
	for (unsigned i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "more%u", i);
		lx_warning_raise(&f->m, &of, 1, "m");
	}
	/* The resolved one went first, then those not seen for longest. */
	for (int again = 0; again < 2; again++) {
		assert_int_equal(lx_map_count(&f->m.warnings->by_id), LX_WARNINGS_MAX);
		assert_null(warning(f, 6));
		assert_null(warning(f, 1));
		assert_null(warning(f, 2));
		assert_non_null(warning(f, 3));
		assert_non_null(warning(f, LX_WARNINGS_MAX + 3));
		restart(f);
	}
}

/* ------------------------------------------------------------------ denials */

static void report(struct fixture *f, const char *instance, const char *path, uint64_t count)
{
	Lxmgr__V1__Denial d = LXMGR__V1__DENIAL__INIT, *list[] = { &d };
	Lxmgr__V1__DenialReports all = LXMGR__V1__DENIAL_REPORTS__INIT;
	static int64_t now;

	d.instance = (char *)(uintptr_t)instance;
	d.kind = (char *)(uintptr_t) "apparmor";
	d.operation = (char *)(uintptr_t) "open";
	d.path = (char *)(uintptr_t)path;
	d.count = count;
	d.first_ns = d.last_ns = ++now;
	all.n_denials = 1;
	all.denials = list;
	lx_denials_report(&f->m, f->node, &all);
}

static void records_are_merged_bounded_and_kept(void **state)
{
	struct fixture *f = *state;
	char path[32];

	report(f, "web1", "/first", 3);
	report(f, "web1", "/second", 1);
	report(f, "web1", "/first", 4);
	restart(f);
	assert_int_equal(f->inst->denials->n_denials, 2);
	assert_int_equal(f->inst->denials->denials[0]->count, 7);
	assert_int_equal(f->inst->denials->counts[0]->count, 8);
	assert_string_equal(f->inst->denials->counts[0]->kind, "apparmor-denied");
	for (unsigned i = 0; i < LX_DENIALS_KEPT - 1; i++) {
		snprintf(path, sizeof(path), "/%u", i);
		report(f, "web1", path, 1);
	}
	restart(f);
	assert_int_equal(f->inst->denials->n_denials, LX_DENIALS_KEPT);
	assert_int_equal(f->inst->denials->counts[0]->count, 8 + LX_DENIALS_KEPT - 1);
	/* The one that was not seen for longest has gone. */
	for (size_t i = 0; i < f->inst->denials->n_denials; i++)
		assert_string_not_equal(f->inst->denials->denials[i]->path, "/second");
	assert_int_equal(warning(f, 1)->count, 8 + LX_DENIALS_KEPT - 1);
}

/* An agent speaks of what is with it, and of nothing else. */
static void others_instances_are_not_its_to_speak_of(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(lx_pb_set(&f->inst->pb->node, "n2"), 0);
	report(f, "web1", "/x", 1);
	report(f, "nobody", "/x", 1);
	report(f, "", "/x", 1);
	assert_null(f->inst->denials);
	assert_int_equal(lx_map_count(&f->m.warnings->by_id), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(holds_and_is_resolved, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ids_are_not_used_twice, set_up, tear_down),
		cmocka_unit_test_setup_teardown(are_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(records_are_merged_bounded_and_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(others_instances_are_not_its_to_speak_of, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
