/*
 * Reports of moves that come after their end, over a real store: the operation and the instance's last
 * move get them in memory and on disk; a later move keeps its own, and an operation that has been let go
 * of does not come back. Of a source that is not part of the cluster any more none is waited for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "lxmgr/operations/move_forget.h"
#include "lxmgr/project.h"
#include "proto/pb.h"
#include "tests/unit/test_manager_fixture.h"

#define OP      "3fa4c1d2-0000-4000-8000-000000000000"
#define OTHER   "3fa4c1d2-0000-4000-8000-000000000001"
#define TEXT(s) ((char *)(uintptr_t)(s))

static void spin(struct fixture *f)
{
	for (int i = 0; i < 10000 && !f->stored; i++) {
		uv_run(&f->loop, UV_RUN_NOWAIT);
		usleep(100);
	}
	assert_true(f->stored);
	f->stored = false;
}

static void on_stored(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(err->code, LX_OK);
	f->stored = true;
}

static void submit(struct fixture *f, struct lx_txn *txn)
{
	assert_int_equal(lx_store_submit(f->m.store, txn, on_stored, f, NULL), 0);
	spin(f);
}

static void blob(struct lx_txn *txn, const ProtobufCMessage *msg)
{
	size_t len;
	lx_autofree uint8_t *bytes = lx_pb_pack(msg, &len);

	assert_non_null(bytes);
	lx_txn_blob(txn, bytes, len);
}

/* What a manager leaves that ends a move without its source; `last` names whose the instance's last move is.
 */
static void write_rows(struct fixture *f, const char *last)
{
	Lxmgr__V1__MoveReport report = LXMGR__V1__MOVE_REPORT__INIT;
	Lxmgr__V1__Operation op = LXMGR__V1__OPERATION__INIT;
	Lxmgr__V1__Instance inst = LXMGR__V1__INSTANCE__INIT;
	struct lx_txn *txn = lx_txn_new(NULL);

	report.awaited = true;
	report.operation = TEXT(OP);
	report.source = TEXT("node1");
	report.incomplete = TEXT("not yet");
	report.reason = TEXT("the kernel is old");
	op.id = TEXT(OP);
	op.kind = TEXT("instance.move");
	op.status = LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_SUCCESS;
	op.project = TEXT("default");
	op.move = &report;
	lx_txn_exec(txn, "INSERT INTO operations (id, ended, updated_at, kind, args, spec)"
			 " VALUES (?1, 1, 1, 'instance.move', '', ?2)");
	lx_txn_text(txn, OP);
	blob(txn, &op.base);
	inst.name = TEXT("web1");
	inst.uuid = TEXT("u-1");
	inst.node = TEXT("node2");
	inst.project = TEXT("default");
	inst.generation = 2;
	inst.idmap_base = 1000000000;
	inst.idmap_size = 65536;
	report.operation = TEXT(last);
	inst.last_move = &report;
	lx_txn_exec(txn, "INSERT INTO instances (uuid, name, node, generation, idmap_base, image, spec)"
			 " VALUES ('u-1', 'web1', 'node2', 2, 1000000000, '', ?1)");
	blob(txn, &inst.base);
	lx_txn_exec(txn, "INSERT INTO move_forgets (operation, id, instance, name, first, second, awaited)"
			 " VALUES (?1, ?1, 'u-1', 'web1', 'node1', 'node2', 1)");
	lx_txn_text(txn, OP);
	submit(f, txn);
	manager_close(f);
	manager_open(f);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/lxmgr-test-late-XXXXXX");
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

static const Lxmgr__V1__MoveReport *of_op(struct fixture *f)
{
	const struct lx_op *op = lx_map_get(&f->m.ops, OP);

	return op ? op->pb->move : NULL;
}

static const Lxmgr__V1__MoveReport *of_inst(struct fixture *f)
{
	const struct lx_inst *inst = lx_map_get(&f->m.instances_by_uuid, "u-1");

	return inst->pb->last_move;
}

static void on_put(const struct lx_err *err, void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(err->code, LX_OK);
	f->stored = true;
}

static void tell(struct fixture *f)
{
	Lxmgr__V1__MoveReport told = LXMGR__V1__MOVE_REPORT__INIT;
	const struct lx_move_late late = { .m = &f->m,
					   .operation = OP,
					   .id = OP,
					   .instance = "u-1",
					   .told = &told,
					   .cb = on_put,
					   .arg = f };

	told.downtime_ns = 42;
	told.source = TEXT("node1");
	assert_int_equal(lx_move_late_put(&late, NULL), 0);
	spin(f);
}

static void check_told(const Lxmgr__V1__MoveReport *r)
{
	assert_non_null(r);
	assert_false(r->awaited);
	assert_int_equal(r->downtime_ns, 42);
	assert_string_equal(r->operation, OP);
	assert_string_equal(r->incomplete, "");
	assert_string_equal(r->reason, "the kernel is old");
}

static void test_told(void **state)
{
	struct fixture *f = *state;

	write_rows(f, OP);
	assert_true(of_op(f)->awaited && of_inst(f)->awaited);
	tell(f);
	check_told(of_op(f));
	check_told(of_inst(f));
	manager_close(f);
	manager_open(f);
	check_told(of_op(f));
	check_told(of_inst(f));
	/* Told again by an agent that has not been told to forget it: nothing changes. */
	tell(f);
	check_told(of_op(f));
}

static void test_later_move_keeps_its_own(void **state)
{
	struct fixture *f = *state;

	write_rows(f, OTHER);
	tell(f);
	check_told(of_op(f));
	for (int i = 0; i < 2; i++) {
		assert_string_equal(of_inst(f)->operation, OTHER);
		assert_true(of_inst(f)->awaited);
		manager_close(f);
		manager_open(f);
	}
}

static void test_operation_that_was_let_go_of(void **state)
{
	struct fixture *f = *state;

	write_rows(f, OP);
	lx_map_del(&f->m.ops, OP);
	tell(f);
	check_told(of_inst(f));
	manager_close(f);
	manager_open(f);
	assert_null(of_op(f));
	check_told(of_inst(f));
}

static int count_row(const struct lx_sql_value *cols, int n, void *arg)
{
	++*(int *)arg;
	return 0;
}

static void test_source_that_is_gone(void **state)
{
	struct fixture *f = *state;
	int rows = 0;

	write_rows(f, OP);
	assert_int_equal(lx_map_count(&f->m.forgets), 1);
	lx_moves_go_on(&f->m);
	for (int i = 0; i < 10000 && lx_map_count(&f->m.forgets); i++) {
		uv_run(&f->loop, UV_RUN_NOWAIT);
		usleep(100);
	}
	assert_int_equal(lx_map_count(&f->m.forgets), 0);
	assert_false(of_op(f)->awaited);
	assert_string_equal(of_op(f)->incomplete,
			    "node node1 was removed from the cluster before it told its figures");
	assert_string_equal(of_inst(f)->incomplete, of_op(f)->incomplete);
	assert_int_equal(lx_store_query(f->m.store, "SELECT operation FROM move_forgets", NULL, 0, count_row,
					&rows, NULL),
			 0);
	assert_int_equal(rows, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_told),
		TEST(test_later_move_keeps_its_own),
		TEST(test_operation_that_was_let_go_of),
		TEST(test_source_that_is_gone),
	};
	return cmocka_run_group_tests_name("manager_move_late", tests, NULL, NULL);
}
