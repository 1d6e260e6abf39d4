/* Opening: new files, migrations, and everything that is refused. */
#include "test_store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *const steps[] = {
	"CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1);",
	"ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 7; CREATE TABLE b (z TEXT);",
	"INSERT INTO a SELECT x + 10, y FROM a;",
};
static const struct lx_schema v1 = { steps, 1 }, v2 = { steps, 2 }, v3 = { steps, 3 };

static void open_at(const struct lx_schema *schema)
{
	struct lx_err err;

	if (try_open(schema, &err) < 0)
		fail_msg("%s", err.msg);
}

static struct lx_err refused(const struct lx_schema *schema)
{
	struct lx_err err;

	assert_true(try_open(schema, &err) < 0);
	assert_null(store);
	assert_non_null(strstr(err.msg, path));
	return err;
}

static char *beside(const char *suffix)
{
	static char name[160];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	return name;
}

static void overwrite(off_t at, const char *text, size_t len)
{
	lx_autoclose int fd = open(path, O_WRONLY | O_CREAT, 0600);

	assert_int_equal(pwrite(fd, text, len, at), len);
}

/* ------------------------------------------------------------------ migrations */

static void creates_a_private_file(void **state)
{
	struct stat st;

	umask(0);
	open_at(&v3);
	umask(0022);
	for (const char *const *s = (const char *const[]){ "", "-wal", "-shm", NULL }; *s; s++) {
		assert_int_equal(stat(beside(*s), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
	assert_int_equal(number("PRAGMA user_version"), 3);
	assert_int_equal(number("SELECT count(*) FROM a"), 2);
	assert_false(lx_path_exists(beside(".v0.bak"))); /* there was nothing to keep */
	close_store();
	assert_false(lx_path_exists(beside("-wal"))); /* all of it is in the file */
}

static void migrates_step_by_step_and_keeps_a_copy(void **state)
{
	struct stat st;

	open_at(&v1);
	assert_int_equal(run_txn(lx_txn_new("key")).err.code, LX_OK);
	close_store();
	edit_raw(path, "INSERT INTO a VALUES (2)");
	assert_int_equal(lx_write_file_atomic(beside(".v1.bak.tmp"), "junk", 4, 0600, NULL), 0);

	open_at(&v3);
	assert_int_equal(number("PRAGMA user_version"), 3);
	assert_int_equal(number("SELECT count(*) FROM a WHERE y = 7"), 4);
	assert_true(run_txn(lx_txn_new("key")).res.replayed);
	close_store();
	assert_false(lx_path_exists(beside(".v1.bak.tmp")));
	assert_int_equal(stat(beside(".v1.bak"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	/* The copy is a whole store of the old version. */
	assert_int_equal(rename(beside(".v1.bak"), path), 0);
	open_at(&v1);
	assert_int_equal(number("PRAGMA user_version"), 1);
	assert_int_equal(number("SELECT count(*) FROM a"), 2);
}

static void opening_again_migrates_nothing(void **state)
{
	open_at(&v2);
	close_store();
	open_at(&v2);
	assert_int_equal(number("SELECT count(*) FROM a"), 1);
	assert_false(lx_path_exists(beside(".v2.bak")));
}

static void a_failing_step_leaves_the_version_before_it(void **state)
{
	static const char *const bad_steps[] = { "CREATE TABLE a (x)", "CREATE TABLE b (x)",
						 "CREATE TABLE c (x); INSERT INTO nobody VALUES (1)" };
	static const struct lx_schema bad = { bad_steps, 3 };
	struct lx_err err;

	open_at(&v1);
	close_store();
	err = refused(&bad);
	assert_non_null(strstr(err.msg, "from schema version 2 to 3"));
	assert_non_null(strstr(err.msg, "nobody"));
	sqlite3 *db = open_raw(path);

	run_raw(db, "SELECT * FROM b");
	assert_int_equal(sqlite3_exec(db, "SELECT * FROM c", NULL, NULL, NULL), SQLITE_ERROR);
	sqlite3_close(db);
	open_at(&v2);
	assert_int_equal(number("PRAGMA user_version"), 2);
}

static void steps_may_rebuild_tables_but_leave_nothing_dangling(void **state)
{
	static const char *const rebuild_steps[] = {
		"CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a INTEGER REFERENCES a (id));"
		"INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);",
		"CREATE TABLE new_a (id INTEGER PRIMARY KEY, x); INSERT INTO new_a (id) SELECT id FROM a;"
		"DROP TABLE a; ALTER TABLE new_a RENAME TO a;",
		"DELETE FROM a;",
	};
	static const struct lx_schema before = { rebuild_steps, 1 }, good = { rebuild_steps, 2 },
				      dangling = { rebuild_steps, 3 };

	open_at(&before);
	close_store();
	open_at(&good);
	assert_int_equal(number("SELECT count(*) FROM a"), 1);
	/* After the steps they are on. */
	struct lx_txn *t = lx_txn_new(NULL);

	lx_txn_exec(t, "DELETE FROM a");
	assert_int_equal(run_txn(t).err.code, LX_FAILED_PRECONDITION);
	close_store();
	assert_non_null(strstr(refused(&dangling).msg, "rows of table b"));
	open_at(&good);
	assert_int_equal(number("SELECT count(*) FROM a"), 1);
}

/* ------------------------------------------------------------------ refusals */

static void a_newer_file_is_refused_untouched(void **state)
{
	lx_autobuf struct lx_buf before = { 0 }, after = { 0 };
	struct lx_err err;

	open_at(&v3);
	close_store();
	assert_int_equal(lx_read_file(path, 1 << 20, &before, NULL), 0);
	err = refused(&v2);
	assert_int_equal(err.code, LX_FAILED_PRECONDITION);
	assert_non_null(strstr(err.msg, "schema version 3"));
	assert_true(strlen(err.hint) > 0);
	assert_int_equal(lx_read_file(path, 1 << 20, &after, NULL), 0);
	assert_int_equal(before.len, after.len);
	assert_memory_equal(before.data, after.data, before.len);
}

static void a_file_of_something_else_is_refused(void **state)
{
	char junk[8192];

	memset(junk, 'j', sizeof(junk));
	overwrite(0, junk, sizeof(junk));
	struct lx_err err = refused(&v1);

	assert_int_equal(err.code, LX_DATA_LOSS);
	assert_true(strlen(err.hint) > 0);
}

static void a_damaged_file_is_refused(void **state)
{
	char junk[2048];
	struct stat st;

	open_store();
	for (int i = 0; i < 2000; i++)
		run_txn(insert_person(NULL, i, NULL));
	close_store();
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > 10 * 4096);
	memset(junk, 0xa5, sizeof(junk));
	overwrite(st.st_size - 4096, junk, sizeof(junk)); /* the last page: some rows */
	assert_int_equal(refused(&people).code, LX_DATA_LOSS);
}

static void a_shortened_file_is_refused(void **state)
{
	open_store();
	for (int i = 0; i < 2000; i++)
		run_txn(insert_person(NULL, i, NULL));
	close_store();
	assert_int_equal(truncate(path, 5 * 4096), 0);
	assert_int_equal(refused(&people).code, LX_DATA_LOSS);
}

static void a_missing_directory_is_named(void **state)
{
	snprintf(path, sizeof(path), "%s/none/db", dir);
	assert_int_equal(refused(&v1).code, LX_NOT_FOUND);
}

/* Another process has it open, and is killed. */
static void one_process_at_a_time(void **state)
{
	int up[2];
	char c;

	assert_int_equal(pipe(up), 0);
	pid_t pid = fork();

	if (pid == 0) {
		struct lx_err err;
		uv_loop_t mine;

		uv_loop_init(&mine);
		if (lx_store_open(&mine, path, &v1, &store, &err) < 0)
			_exit(1);
		if (write(up[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(up[1]);
	assert_int_equal(read(up[0], &c, 1), 1);
	close(up[0]);
	struct lx_err err = refused(&v1);

	assert_int_equal(err.code, LX_UNAVAILABLE);
	assert_true(strlen(err.hint) > 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	open_at(&v1);
}

int main(void)
{
#define IN_DIR(t) cmocka_unit_test_setup_teardown(t, enter_dir, leave_dir)
	const struct CMUnitTest tests[] = {
		IN_DIR(creates_a_private_file),
		IN_DIR(migrates_step_by_step_and_keeps_a_copy),
		IN_DIR(opening_again_migrates_nothing),
		IN_DIR(a_failing_step_leaves_the_version_before_it),
		IN_DIR(steps_may_rebuild_tables_but_leave_nothing_dangling),
		IN_DIR(a_newer_file_is_refused_untouched),
		IN_DIR(a_file_of_something_else_is_refused),
		IN_DIR(a_damaged_file_is_refused),
		IN_DIR(a_shortened_file_is_refused),
		IN_DIR(a_missing_directory_is_named),
		IN_DIR(one_process_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
