/*
 * What the store's tests share: an empty directory, a loop, a schema, and waiting for
 * outcomes. Include it once in a test program, after nothing else of cmocka.
 */
#ifndef LX_TEST_STORE_FIXTURE_H
#define LX_TEST_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "store/store.h"

static char dir[64], path[96];
static uv_loop_t loop;
static struct lx_store *store;

static const char *const people_steps[] = {
	"CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT UNIQUE, age INTEGER, photo BLOB);"
	"CREATE TABLE pet (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL REFERENCES person (id));"
	"CREATE TABLE lease (id INTEGER PRIMARY KEY,"
	" owner INTEGER NOT NULL REFERENCES person (id) DEFERRABLE INITIALLY DEFERRED);",
};
static const struct lx_schema people = { people_steps, 1 };

/* ------------------------------------------------------------------ set-up */

static inline int enter_dir(void **state)
{
	strcpy(dir, "/tmp/lx-test-store.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/db", dir);
	return uv_loop_init(&loop);
}

static inline int leave_dir(void **state)
{
	lx_store_close(store); /* still there when a test failed */
	store = NULL;
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop) < 0 || lx_rm_rf(dir, NULL) < 0 ? -1 : 0;
}

static inline int try_open(const struct lx_schema *schema, struct lx_err *err)
{
	*err = LX_ERR_INIT;
	return lx_store_open(&loop, path, schema, &store, err);
}

static inline void open_store(void)
{
	struct lx_err err;

	if (try_open(&people, &err) < 0)
		fail_msg("%s", err.msg);
}

static inline void close_store(void)
{
	lx_store_close(store);
	store = NULL;
	uv_run(&loop, UV_RUN_DEFAULT);
}

static inline int enter_store(void **state)
{
	if (enter_dir(state) < 0)
		return -1;
	open_store();
	return 0;
}

/* ------------------------------------------------------------------ transactions */

struct outcome {
	int calls;
	int place; /* of its callback among all, from 1 */
	struct lx_store_result res;
	struct lx_err err;
};

static int callbacks_run;

static inline void on_outcome(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct outcome *o = arg;

	o->calls++;
	o->place = ++callbacks_run;
	o->res = *res;
	o->err = *err;
}

static inline void submit(struct lx_txn *t, struct outcome *o)
{
	struct lx_err err = LX_ERR_INIT;

	*o = (struct outcome){ .err = { .code = LX_UNKNOWN } };
	if (lx_store_submit(store, t, on_outcome, o, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(o->calls, 0);
}

/* Returns when nothing is under way: only then the store lets go of the loop. */
static inline void wait_all(void)
{
	uv_run(&loop, UV_RUN_DEFAULT);
}

static inline struct outcome run_txn(struct lx_txn *t)
{
	struct outcome o;

	submit(t, &o);
	wait_all();
	assert_int_equal(o.calls, 1);
	return o;
}

static inline struct lx_txn *insert_person(const char *key, int64_t id, const char *name)
{
	struct lx_txn *t = lx_txn_new(key);

	lx_txn_exec(t, "INSERT INTO person (id, name) VALUES (?1, ?2)");
	lx_txn_int(t, id);
	lx_txn_text(t, name);
	return t;
}

/* ------------------------------------------------------------------ looking */

static inline int take_number(const struct lx_sql_value *cols, int n, void *arg)
{
	*(int64_t *)arg = cols[0].i;
	return 0;
}

/* The first column of the last row. */
static inline int64_t number(const char *sql)
{
	struct lx_err err = LX_ERR_INIT;
	int64_t v = -1;

	if (lx_store_query(store, sql, NULL, 0, take_number, &v, &err) < 0)
		fail_msg("%s", err.msg);
	return v;
}

/* ------------------------------------------------------------------ behind the store's back */

static inline void run_raw(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

static inline sqlite3 *open_raw(const char *file)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
	return db;
}

static inline void edit_raw(const char *file, const char *sql)
{
	sqlite3 *db = open_raw(file);

	run_raw(db, sql);
	sqlite3_close(db);
}

#endif
