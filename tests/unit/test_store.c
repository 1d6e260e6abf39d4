/* Transactions: order, guards, keys, isolation within a batch, and what a builder can get wrong. */
#include "test_store_fixture.h"

#include <errno.h>

#include "lib/clock.h"

/*
 * Keeps the writer waiting for the file's lock, so that what is submitted meanwhile forms
 * one batch behind the request that `primer` gets.
 */
static sqlite3 *hold_writer(struct outcome *primer)
{
	sqlite3 *db = open_raw(path);

	run_raw(db, "BEGIN IMMEDIATE");
	submit(insert_person(NULL, 1000000, "primer"), primer);
	usleep(50000);
	return db;
}

static void release_writer(sqlite3 *db)
{
	run_raw(db, "COMMIT");
	sqlite3_close(db);
	wait_all();
}

/* ------------------------------------------------------------------ order and callbacks */

static void runs_in_order(void **state)
{
	static struct outcome o[1000];

	callbacks_run = 0;
	assert_int_equal(run_txn(insert_person(NULL, 1, "counter")).err.code, LX_OK);
	for (int i = 0; i < 1000; i++) {
		struct lx_txn *t = lx_txn_new(NULL);

		/* Holds only if exactly i of them ran before. */
		lx_txn_exec(t, "UPDATE person SET age = ?1 + 1 WHERE id = 1 AND coalesce(age, 0) = ?1");
		lx_txn_int(t, i);
		lx_txn_expect(t, 1, "out of order");
		submit(t, &o[i]);
	}
	wait_all();
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(o[i].calls, 1);
		assert_int_equal(o[i].err.code, LX_OK);
		assert_int_equal(o[i].place, i + 2);
	}
	assert_int_equal(number("SELECT age FROM person"), 1000);
}

static void submit_next(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	int *left = arg;

	assert_int_equal(err->code, LX_OK);
	if ((*left)-- > 0)
		assert_int_equal(
			lx_store_submit(store, insert_person(NULL, *left, NULL), submit_next, left, NULL), 0);
}

static void callbacks_may_submit(void **state)
{
	int left = 10;

	assert_int_equal(lx_store_submit(store, insert_person(NULL, 100, NULL), submit_next, &left, NULL), 0);
	wait_all();
	assert_int_equal(left, -1);
	assert_int_equal(number("SELECT count(*) FROM person"), 11);
}

static void submit_while_closing(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct lx_err refused = LX_ERR_INIT;

	assert_int_equal(err->code, LX_OK);
	assert_true(lx_store_submit(store, insert_person(NULL, 2, NULL), NULL, NULL, &refused) < 0);
	assert_int_equal(refused.code, LX_UNAVAILABLE);
	(*(int *)arg)++;
}

static void close_finishes_what_was_submitted(void **state)
{
	struct outcome o[50];
	int calls = 0;

	for (int i = 0; i < 50; i++)
		submit(insert_person(NULL, 100 + i, NULL), &o[i]);
	assert_int_equal(
		lx_store_submit(store, insert_person(NULL, 1, NULL), submit_while_closing, &calls, NULL), 0);
	assert_int_equal(lx_store_submit(store, insert_person(NULL, 3, NULL), NULL, NULL, NULL), 0);
	close_store();
	assert_int_equal(calls, 1);
	for (int i = 0; i < 50; i++)
		assert_int_equal(o[i].calls, 1);
	open_store();
	assert_int_equal(number("SELECT count(*) FROM person"), 52);
	assert_int_equal(number("SELECT count(*) FROM person WHERE id = 2"), 0);
}

static void ten_thousand_inserts_share_commits(void **state)
{
	enum { N = 10000 };
	static struct outcome o[N];
	uint64_t start = lx_now_monotonic_ns();

	for (int i = 0; i < N; i++) {
		char key[32];

		snprintf(key, sizeof(key), "request-%d", i);
		submit(insert_person(key, i, NULL), &o[i]);
	}
	wait_all();
	uint64_t ms = (lx_now_monotonic_ns() - start) / LX_NSEC_PER_MSEC;

	for (int i = 0; i < N; i++)
		assert_int_equal(o[i].err.code, LX_OK);
	assert_int_equal(number("SELECT count(*) FROM person"), N);
	print_message("%d inserts: %llu ms\n", N, (unsigned long long)ms);
	/* A commit each would need many seconds on a disk that syncs. */
	assert_true(ms < 10000);
}

/* ------------------------------------------------------------------ all or nothing */

static void says_what_changed(void **state)
{
	struct lx_txn *t = insert_person(NULL, 1, "ann");

	lx_txn_exec(t, "INSERT INTO person (id, name) VALUES (2, 'bob'), (3, 'cid')");
	lx_txn_expect(t, 2, "both");
	lx_txn_exec(t, "UPDATE person SET age = 1 WHERE id = 77");
	lx_txn_expect(t, 0, "nobody");
	lx_txn_exec(t, "SELECT count(*) FROM person");
	lx_txn_expect(t, 0, "reading changes nothing");
	struct outcome o = run_txn(t);

	assert_int_equal(o.err.code, LX_OK);
	assert_int_equal(o.res.changes, 3);
	assert_false(o.res.replayed);
}

static void a_guard_rolls_back_everything(void **state)
{
	struct lx_txn *t = insert_person("key-g", 1, "ann");
	char why[] = "instance web1 was changed meanwhile";

	lx_txn_exec(t, "UPDATE person SET age = 1 WHERE id = ?1");
	lx_txn_int(t, 2);
	lx_txn_expect(t, 1, why);
	why[0] = 'X'; /* it was copied */
	lx_txn_exec(t, "INSERT INTO person (id) VALUES (3)");
	struct outcome o = run_txn(t);

	assert_int_equal(o.err.code, LX_ABORTED);
	assert_string_equal(o.err.msg, "instance web1 was changed meanwhile");
	assert_int_equal(o.res.changes, 0);
	assert_int_equal(number("SELECT count(*) FROM person"), 0);
	/* Its key was not used up. */
	o = run_txn(insert_person("key-g", 1, "ann"));
	assert_int_equal(o.err.code, LX_OK);
	assert_false(o.res.replayed);
}

static void names_broken_constraints(void **state)
{
	assert_int_equal(run_txn(insert_person(NULL, 1, "ann")).err.code, LX_OK);
	struct outcome o = run_txn(insert_person(NULL, 2, "ann"));

	assert_int_equal(o.err.code, LX_ALREADY_EXISTS);
	assert_string_equal(o.err.msg, "cannot write the store: UNIQUE constraint failed: person.name");
	assert_int_equal(run_txn(insert_person(NULL, 1, "bob")).err.code, LX_ALREADY_EXISTS);

	struct lx_txn *t = lx_txn_new(NULL);

	lx_txn_exec(t, "INSERT INTO pet (owner) VALUES (99)");
	assert_int_equal(run_txn(t).err.code, LX_FAILED_PRECONDITION);
	t = lx_txn_new(NULL);
	lx_txn_exec(t, "INSERT INTO pet (owner) VALUES (?1)");
	lx_txn_text(t, NULL);
	assert_int_equal(run_txn(t).err.code, LX_FAILED_PRECONDITION);
	assert_int_equal(number("SELECT count(*) FROM person"), 1);
}

static void failures_in_a_batch_stay_alone(void **state)
{
	struct outcome primer, o[200];
	sqlite3 *held = hold_writer(&primer);

	for (int i = 0; i < 200; i++) {
		struct lx_txn *t = insert_person(NULL, i, NULL);

		if (i % 3 == 1) { /* fails in its second statement */
			lx_txn_exec(t, "INSERT INTO person (id) VALUES (?1)");
			lx_txn_int(t, i);
		} else if (i % 3 == 2) {
			lx_txn_exec(t, "DELETE FROM person WHERE id = -1");
			lx_txn_expect(t, 1, "guard");
		}
		submit(t, &o[i]);
	}
	release_writer(held);
	assert_int_equal(primer.err.code, LX_OK);
	for (int i = 0; i < 200; i++) {
		static const enum lx_code expected[] = { LX_OK, LX_ALREADY_EXISTS, LX_ABORTED };

		assert_int_equal(o[i].calls, 1);
		assert_int_equal(o[i].err.code, expected[i % 3]);
	}
	assert_int_equal(number("SELECT count(*) FROM person WHERE id < 200"), 67);
	assert_int_equal(number("SELECT count(*) FROM person WHERE id < 200 AND id % 3 != 0"), 0);
}

/* A deferred constraint only shows at the commit, which the whole batch shares. */
static void a_failed_commit_hits_only_the_guilty(void **state)
{
	struct outcome primer, o[50];
	sqlite3 *held = hold_writer(&primer);

	for (int i = 0; i < 50; i++) {
		struct lx_txn *t = insert_person(NULL, i, NULL);

		if (i == 20)
			lx_txn_exec(t, "INSERT INTO lease (owner) VALUES (12345)");
		submit(t, &o[i]);
	}
	release_writer(held);
	for (int i = 0; i < 50; i++)
		assert_int_equal(o[i].err.code, i == 20 ? LX_FAILED_PRECONDITION : LX_OK);
	assert_int_equal(number("SELECT count(*) FROM person WHERE id < 50"), 49);
	assert_int_equal(number("SELECT count(*) FROM lease"), 0);
}

/* Waits out the busy time-out once, for all that waits, not once each. */
static void a_locked_file_is_unavailable(void **state)
{
	struct outcome primer, o[20];
	sqlite3 *held = hold_writer(&primer);
	uint64_t start = lx_now_monotonic_ns();

	wait_all();
	assert_int_equal(primer.err.code, LX_UNAVAILABLE);
	assert_true(strlen(primer.err.hint) > 0);
	for (int i = 0; i < 20; i++)
		submit(insert_person(NULL, i, NULL), &o[i]);
	usleep(20000);
	release_writer(held);
	for (int i = 0; i < 20; i++)
		assert_int_equal(o[i].err.code, LX_OK);
	assert_true(lx_now_monotonic_ns() - start < 15 * LX_NSEC_PER_SEC);
}

/* ------------------------------------------------------------------ idempotency */

static void a_key_is_done_once(void **state)
{
	struct outcome o = run_txn(insert_person("req-1", 1, "ann"));

	assert_int_equal(o.err.code, LX_OK);
	assert_false(o.res.replayed);
	o = run_txn(insert_person("req-1", 1, "ann"));
	assert_int_equal(o.err.code, LX_OK);
	assert_true(o.res.replayed);
	assert_int_equal(o.res.changes, 0);

	close_store();
	open_store();
	o = run_txn(insert_person("req-1", 1, "ann"));
	assert_true(o.res.replayed);
	assert_int_equal(o.err.code, LX_OK);
	assert_int_equal(number("SELECT count(*) FROM person"), 1);
}

static void a_key_is_done_once_within_a_batch(void **state)
{
	struct outcome primer, o[4];
	sqlite3 *held = hold_writer(&primer);

	submit(insert_person("a", 1000000, "taken"), &o[0]); /* fails: the primer has this id */
	submit(insert_person("a", 1, NULL), &o[1]);
	submit(insert_person("a", 1, NULL), &o[2]);
	submit(insert_person("b", 2, NULL), &o[3]);
	release_writer(held);
	assert_int_equal(o[0].err.code, LX_ALREADY_EXISTS);
	assert_int_equal(o[1].err.code, LX_OK);
	assert_false(o[1].res.replayed);
	assert_int_equal(o[2].err.code, LX_OK);
	assert_true(o[2].res.replayed);
	assert_false(o[3].res.replayed);
	assert_int_equal(number("SELECT count(*) FROM person WHERE id < 10"), 2);
}

static void old_keys_are_forgotten(void **state)
{
	int64_t now = (int64_t)(lx_now_realtime_ns() / LX_NSEC_PER_SEC);
	char sql[128];

	run_txn(insert_person("old", 1, NULL));
	run_txn(insert_person("young", 2, NULL));
	close_store();
	snprintf(sql, sizeof(sql), "UPDATE lx_txn_key SET at = %lld WHERE key = 'old'",
		 (long long)(now - LX_STORE_KEY_DAYS * 86400 - 10));
	edit_raw(path, sql);
	snprintf(sql, sizeof(sql), "UPDATE lx_txn_key SET at = %lld WHERE key = 'young'",
		 (long long)(now - LX_STORE_KEY_DAYS * 86400 + 100));
	edit_raw(path, sql);
	open_store();
	assert_true(run_txn(insert_person("young", 3, NULL)).res.replayed);
	assert_false(run_txn(insert_person("old", 4, NULL)).res.replayed);
}

/* ------------------------------------------------------------------ reading */

static int check_row(const struct lx_sql_value *cols, int n, void *arg)
{
	assert_int_equal(n, 6);
	assert_int_equal(cols[0].type, LX_SQL_INT);
	assert_true(cols[0].i == INT64_MIN);
	assert_int_equal(cols[1].type, LX_SQL_TEXT);
	assert_int_equal(cols[1].len, 4);
	assert_string_equal(cols[1].data, "Zo\xc3\xab");
	assert_int_equal(cols[2].type, LX_SQL_NULL);
	assert_int_equal(cols[3].type, LX_SQL_BLOB);
	assert_int_equal(cols[3].len, 3);
	assert_memory_equal(cols[3].data, "a\0b", 3);
	assert_int_equal(cols[4].type, LX_SQL_BLOB); /* empty, not NULL */
	assert_int_equal(cols[4].len, 0);
	assert_string_equal(cols[5].data, "2.5");
	(*(int *)arg)++;
	return 0;
}

static void reads_back_what_was_written(void **state)
{
	struct lx_txn *t = insert_person(NULL, INT64_MIN, "Zo\xc3\xab");
	struct lx_sql_value args[] = {
		{ .type = LX_SQL_TEXT, .data = "Zo\xc3\xab", .len = 4 },
		{ .type = LX_SQL_BLOB, .data = NULL, .len = 0 },
	};
	int rows = 0;

	lx_txn_exec(t, "UPDATE person SET photo = ?2 WHERE id = ?1");
	lx_txn_int(t, INT64_MIN);
	lx_txn_blob(t, "a\0b", 3);
	lx_txn_exec(t, "INSERT INTO person (id, photo) VALUES (1, ?1)");
	lx_txn_blob(t, NULL, 0);
	assert_int_equal(run_txn(t).err.code, LX_OK);
	assert_int_equal(number("SELECT count(*) FROM person WHERE photo IS NULL"), 0);
	assert_int_equal(lx_store_query(store,
					"SELECT id, name, age, photo, ?2, 2.5 FROM person WHERE name = ?1",
					args, 2, check_row, &rows, NULL),
			 0);
	assert_int_equal(rows, 1);
}

static int stop_at_second(const struct lx_sql_value *cols, int n, void *arg)
{
	return ++*(int *)arg == 2 ? -EINTR : 0;
}

static void a_query_can_be_stopped(void **state)
{
	int rows = 0;

	for (int i = 0; i < 5; i++)
		run_txn(insert_person(NULL, i, NULL));
	assert_int_equal(lx_store_query(store, "SELECT id FROM person", NULL, 0, stop_at_second, &rows, NULL),
			 -EINTR);
	assert_int_equal(rows, 2);
}

static void a_query_cannot_write(void **state)
{
	struct lx_err err = LX_ERR_INIT;
	int64_t v;

	assert_true(lx_store_query(store, "DELETE FROM person", NULL, 0, take_number, &v, &err) < 0);
	assert_int_equal(err.code, LX_PERMISSION_DENIED);
	assert_true(lx_store_query(store, "SELECT nonsense", NULL, 0, take_number, &v, &err) < 0);
	assert_int_equal(err.code, LX_INTERNAL);
	assert_non_null(strstr(err.msg, "no such column"));
	assert_true(lx_store_query(store, "SELECT ?1", NULL, 0, take_number, &v, &err) < 0);
	assert_non_null(strstr(err.msg, "wants 1 arguments, got 0"));
}

/* ------------------------------------------------------------------ building */

static enum lx_code refused(struct lx_txn *t)
{
	struct lx_err err = LX_ERR_INIT;

	assert_true(lx_store_submit(store, t, on_outcome, NULL, &err) < 0);
	return err.code;
}

static void faults_of_a_builder_are_reported(void **state)
{
	struct lx_txn *t = lx_txn_new(NULL);

	lx_txn_int(t, 1);
	lx_txn_exec(t, "INSERT INTO person (id) VALUES (1)");
	assert_int_equal(refused(t), LX_INTERNAL);
	t = lx_txn_new("k");
	lx_txn_expect(t, 1, "x");
	assert_int_equal(refused(t), LX_INTERNAL);

	t = lx_txn_new(NULL);
	for (int i = 0; i < LX_STORE_MAX_STATEMENTS; i++) {
		lx_txn_exec(t, "INSERT INTO person (id) VALUES (?1)");
		lx_txn_int(t, i);
	}
	assert_int_equal(run_txn(t).res.changes, LX_STORE_MAX_STATEMENTS);
	t = lx_txn_new(NULL);
	for (int i = 0; i <= LX_STORE_MAX_STATEMENTS; i++)
		lx_txn_exec(t, "DELETE FROM person");
	lx_txn_int(t, 1); /* must not go to the last good statement */
	assert_int_equal(refused(t), LX_RESOURCE_EXHAUSTED);
	assert_int_equal(number("SELECT count(*) FROM person"), LX_STORE_MAX_STATEMENTS);

	lx_txn_free(lx_txn_new("unused"));
	lx_txn_free(NULL);
}

static void faults_of_sql_are_reported(void **state)
{
	static const char *const bad[] = {
		"INSERT INTO person (id) VALUES (?1)", /* no argument given */
		"INSERT INTO nobody VALUES (1)",
		"DELETE FROM person; DELETE FROM pet",
		"",
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		struct lx_txn *t = lx_txn_new(NULL);

		lx_txn_exec(t, bad[i]);
		struct outcome o = run_txn(t);

		assert_int_equal(o.err.code, LX_INTERNAL);
	}
	/* An empty transaction is one. */
	assert_int_equal(run_txn(lx_txn_new("empty")).err.code, LX_OK);
	assert_true(run_txn(lx_txn_new("empty")).res.replayed);
}

/* More different statements than are kept prepared. */
static void many_statements_are_fine(void **state)
{
	enum { N = 300 };
	static char sql[N][64];

	for (int round = 0; round < 2; round++) {
		struct lx_txn *t = lx_txn_new(NULL);

		for (int i = 0; i < N; i++) {
			snprintf(sql[i], sizeof(sql[i]), "INSERT INTO person (id) VALUES (?1 + %d)", i);
			lx_txn_exec(t, sql[i]);
			lx_txn_int(t, round * N);
		}
		assert_int_equal(run_txn(t).res.changes, N);
	}
}

int main(void)
{
#define IN_STORE(t) cmocka_unit_test_setup_teardown(t, enter_store, leave_dir)
	const struct CMUnitTest tests[] = {
		IN_STORE(runs_in_order),
		IN_STORE(callbacks_may_submit),
		IN_STORE(close_finishes_what_was_submitted),
		IN_STORE(ten_thousand_inserts_share_commits),
		IN_STORE(says_what_changed),
		IN_STORE(a_guard_rolls_back_everything),
		IN_STORE(names_broken_constraints),
		IN_STORE(failures_in_a_batch_stay_alone),
		IN_STORE(a_failed_commit_hits_only_the_guilty),
		IN_STORE(a_locked_file_is_unavailable),
		IN_STORE(a_key_is_done_once),
		IN_STORE(a_key_is_done_once_within_a_batch),
		IN_STORE(old_keys_are_forgotten),
		IN_STORE(reads_back_what_was_written),
		IN_STORE(a_query_can_be_stopped),
		IN_STORE(a_query_cannot_write),
		IN_STORE(faults_of_a_builder_are_reported),
		IN_STORE(faults_of_sql_are_reported),
		IN_STORE(many_statements_are_fine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
