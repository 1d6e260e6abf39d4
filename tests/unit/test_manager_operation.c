/*
 * The engine of operations over a real store: journalled when accepted, known by request id,
 * one at a time for an instance, parked while its node is away, cancelled, and taken up again
 * by a manager that starts on the same store.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/fs.h"
#include "lib/str.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"
#include "proto/pb.h"
#include "tests/unit/test_manager_fixture.h"

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	strcpy(f->dir, "/tmp/lxmgr-test-op-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	manager_open(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	manager_close(f);
	lx_rm_rf(f->dir, NULL);
	free(f);
	return 0;
}

static void spin(struct fixture *f, const bool *until)
{
	for (int i = 0; i < 10000 && !*until; i++) {
		uv_run(&f->loop, UV_RUN_NOWAIT);
		usleep(100);
	}
	assert_true(*until);
}

/* A node that never answers, and an instance on it. */
static void add_instance(struct fixture *f, const char *name)
{
	struct lx_err err = LX_ERR_INIT;
	if (!lx_map_has(&f->m.nodes, "node1")) {
		Lxmgr__V1__Node *n = malloc(sizeof(*n));
		lxmgr__v1__node__init(n);
		lx_pb_set(&n->name, "node1");
		assert_non_null(lx_node_add(&f->m, n));
	}
	Lxmgr__V1__Instance *pb = malloc(sizeof(*pb));
	lxmgr__v1__instance__init(pb);
	lx_pb_set(&pb->name, name);
	lx_pb_set(&pb->uuid, name);
	lx_pb_set(&pb->node, "node1");
	assert_int_equal(lx_leases_take(&f->m, pb, &err), 0);
	assert_non_null(lx_inst_add(&f->m, pb));
}

struct outcome {
	bool done;
	enum lx_code code;
};

static void on_accepted(struct lx_op *op, const struct lx_err *err, void *arg)
{
	struct outcome *o = arg;
	o->done = true;
	o->code = err->code;
}

static struct lx_op *accept_start(struct fixture *f, const char *name, const char *request_id)
{
	Lxmgr__V1__InstanceActionRequest req = LXMGR__V1__INSTANCE_ACTION_REQUEST__INIT;
	struct lx_err err = LX_ERR_INIT;
	struct outcome o = { 0 };

	req.name = (char *)(uintptr_t)name;
	struct lx_op *op = lx_op_new(&f->m, &lx_op_start, "default", name, &req.base, request_id, NULL, &err);
	assert_non_null(op);
	assert_int_equal(lx_op_claim(op, lx_map_get(&f->m.instances, name), &err), 0);
	assert_int_equal(lx_op_accept(op, NULL, on_accepted, &o, &err), 0);
	assert_false(o.done); /* never before the call has returned */
	spin(f, &o.done);
	assert_int_equal(o.code, LX_OK);
	return op;
}

static void test_parked_while_node_is_away(void **state)
{
	struct fixture *f = *state;
	add_instance(f, "web1");
	struct lx_op *op = accept_start(f, "web1", NULL);
	assert_true(op->parked);
	assert_false(lx_op_ended(op));
	assert_string_equal(op->pb->phase, "waiting for node");
	/* Another verb has to wait, and is told for what. */
	Lxmgr__V1__InstanceActionRequest req = LXMGR__V1__INSTANCE_ACTION_REQUEST__INIT;
	struct lx_err err = LX_ERR_INIT;
	struct lx_op *second = lx_op_new(&f->m, &lx_op_stop, "default", "web1", &req.base, NULL, NULL, &err);
	assert_true(lx_op_claim(second, lx_map_get(&f->m.instances, "web1"), &err) < 0);
	assert_int_equal(err.code, LX_FAILED_PRECONDITION);
	assert_non_null(strstr(err.msg, op->pb->id));
	lx_op_free(second);
}

static void test_request_id(void **state)
{
	struct fixture *f = *state;
	add_instance(f, "web1");
	struct lx_op *op = accept_start(f, "web1", "retry-1");
	assert_ptr_equal(lx_map_get(&f->m.ops_by_request, "retry-1"), op);
}

/* Whoever waits with the first for the journal is told that there will be no operation. */
static void on_refused(struct lx_op *op, void *arg)
{
	struct outcome *o = arg;
	assert_false(op->accepted);
	assert_true(lx_op_ended(op));
	o->done = true;
	o->code = (enum lx_code)op->pb->error_code;
}

static void test_refused_by_the_store(void **state)
{
	struct fixture *f = *state;
	Lxmgr__V1__InstanceActionRequest req = LXMGR__V1__INSTANCE_ACTION_REQUEST__INIT;
	struct lx_err err = LX_ERR_INIT;
	struct outcome first = { 0 }, second = { 0 };
	struct lx_op_watcher w = { .changed = on_refused, .arg = &second };

	struct lx_op *op = lx_op_new(&f->m, &lx_op_start, "default", "web1", &req.base, "r1", NULL, &err);
	struct lx_txn *txn = lx_txn_new(op->pb->id);
	lx_txn_exec(txn, "DELETE FROM instances WHERE name = 'nobody'");
	lx_txn_expect(txn, 1, "there is nobody");
	assert_int_equal(lx_op_accept(op, txn, on_accepted, &first, &err), 0);
	lx_op_watch(op, &w);
	spin(f, &second.done);
	assert_true(first.done);
	assert_int_equal(first.code, LX_ABORTED);
	assert_int_equal(second.code, LX_ABORTED);
	assert_null(lx_map_get(&f->m.ops_by_request, "r1"));
	assert_int_equal(lx_map_count(&f->m.ops), 0);
}

static void on_changed(struct lx_op *op, void *arg)
{
	struct outcome *o = arg;
	o->done = lx_op_ended(op);
	o->code = (enum lx_code)op->pb->error_code;
}

static void test_cancel(void **state)
{
	struct fixture *f = *state;
	struct lx_err err = LX_ERR_INIT;
	struct outcome o = { 0 };
	struct lx_op_watcher w = { .changed = on_changed, .arg = &o };
	add_instance(f, "web1");
	struct lx_op *op = accept_start(f, "web1", NULL);
	lx_op_watch(op, &w);
	assert_int_equal(lx_op_cancel(op, &err), 0);
	spin(f, &o.done);
	assert_int_equal(o.code, LX_CANCELLED);
	assert_true(lx_op_cancel(op, &err) < 0);
	lx_op_unwatch(&w);
	/* The instance is free again. */
	accept_start(f, "web1", NULL);
}

static bool any(const struct lx_op *op, void *arg)
{
	return true;
}

static bool none(const struct lx_op *op, void *arg)
{
	return false;
}

static void test_found_by_prefix(void **state)
{
	struct fixture *f = *state;
	struct lx_err err = LX_ERR_INIT;
	char prefix[9];
	add_instance(f, "web1");
	struct lx_op *op = accept_start(f, "web1", NULL);
	snprintf(prefix, sizeof(prefix), "%.8s", op->pb->id);
	assert_ptr_equal(lx_op_find(&f->m, prefix, any, NULL, &err), op);
	assert_null(lx_op_find(&f->m, prefix, none, NULL, NULL));
	assert_null(lx_op_find(&f->m, op->pb->id, none, NULL, NULL));
	assert_null(lx_op_find(&f->m, "zzzz", any, NULL, &err));
	assert_int_equal(err.code, LX_NOT_FOUND);
}

/* The journal outlives the manager: what was under way is there again, ended ones stay ended. */
static void test_resumed_after_restart(void **state)
{
	struct fixture *f = *state;
	struct lx_err err = LX_ERR_INIT;
	struct outcome o = { 0 };
	struct lx_op_watcher w = { .changed = on_changed, .arg = &o };
	char ended[64], open[64];

	add_instance(f, "web1");
	add_instance(f, "web2");
	struct lx_op *a = accept_start(f, "web1", "r1");
	snprintf(ended, sizeof(ended), "%s", a->pb->id);
	lx_op_watch(a, &w);
	lx_op_cancel(a, &err);
	spin(f, &o.done);
	lx_op_unwatch(&w);
	snprintf(open, sizeof(open), "%s", accept_start(f, "web2", "r2")->pb->id);

	manager_close(f);
	manager_open(f);
	struct lx_op *op = lx_map_get(&f->m.ops, ended);
	assert_non_null(op);
	assert_true(lx_op_ended(op));
	assert_int_equal(op->pb->error_code, LX_CANCELLED);
	/* Its node is not in this store: it cannot go on, and says so instead of hanging. */
	op = lx_map_get(&f->m.ops, open);
	assert_non_null(op);
	o = (struct outcome){ 0 };
	lx_op_watch(op, &w);
	o.done = lx_op_ended(op);
	spin(f, &o.done);
	assert_int_equal(op->pb->status, LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_FAILURE);
	assert_int_equal(op->pb->error_code, LX_UNAVAILABLE);
	lx_op_unwatch(&w);
	/* And a client that retries still finds what became of it. */
	assert_ptr_equal(lx_map_get(&f->m.ops_by_request, "r2"), op);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_parked_while_node_is_away), TEST(test_request_id),
		TEST(test_refused_by_the_store),      TEST(test_cancel),
		TEST(test_found_by_prefix),           TEST(test_resumed_after_restart),
	};
	return cmocka_run_group_tests_name("manager_operation", tests, NULL, NULL);
}
