/*
 * kill -9 at any moment. A child submits numbered transactions and reports each
 * acknowledged one over a pipe; it is killed after a random time, and the file must hold
 * every number it reported, once, and nothing half. The next child starts again from the
 * last reported number, with the same keys, as a client would that got no answer.
 */
#include "test_store_fixture.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "lib/clock.h"

#define IN_FLIGHT    64
#define SECONDS      4 /* of rounds */
#define ROUND_MS     60
#define ROUNDS_MAX   100 /* in vain, before it counts as a failure */
#define MIGRATIONS   30
#define MIGRATE_ROWS 3000

static const char *const log_steps[] = {
	"CREATE TABLE entry (n INTEGER NOT NULL);" /* not unique: doubles must be able to show */
	"CREATE TABLE total (v INTEGER NOT NULL); INSERT INTO total VALUES (0);",
	"CREATE INDEX entry_n ON entry (n);"
	"INSERT INTO entry SELECT -n FROM entry; UPDATE total SET v = v * 2;"
	"CREATE TABLE done (x);",
};
static const struct lx_schema log_v1 = { log_steps, 1 }, log_v2 = { log_steps, 2 };

/* ------------------------------------------------------------------ the child */

struct number {
	int64_t n;
	int report; /* pipe */
};

static int64_t next_number;

static void on_done(const struct lx_store_result *res, const struct lx_err *err, void *arg);

static void submit_number(struct number *slot)
{
	char key[32];

	slot->n = next_number++;
	snprintf(key, sizeof(key), "number-%lld", (long long)slot->n);
	struct lx_txn *t = lx_txn_new(key);

	lx_txn_exec(t, "INSERT INTO entry (n) VALUES (?1)");
	lx_txn_int(t, slot->n);
	lx_txn_exec(t, "UPDATE total SET v = v + 1");
	lx_txn_expect(t, 1, "no total");
	if (lx_store_submit(store, t, on_done, slot, NULL) < 0)
		_exit(3);
}

static void on_done(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct number *slot = arg;

	if (err->code != LX_OK || write(slot->report, &slot->n, sizeof(slot->n)) != sizeof(slot->n))
		_exit(4);
	submit_number(slot);
}

static void write_until_killed(int64_t from, int report)
{
	struct number slots[IN_FLIGHT];
	struct lx_err err;

	/* The parent's loop is not ours after a fork. */
	if (uv_loop_init(&loop) < 0 || try_open(&log_v1, &err) < 0)
		_exit(2);
	next_number = from;
	for (int i = 0; i < IN_FLIGHT; i++) {
		slots[i].report = report;
		submit_number(&slots[i]);
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	_exit(5);
}

/* ------------------------------------------------------------------ the parent */

static void kill_child(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status))
		fail_msg("the child gave up by itself: %d", WEXITSTATUS(status));
}

/* Takes reports for `ms`, kills, takes the rest. Returns the last number reported. */
static int64_t kill_round(int64_t last, int ms)
{
	uint64_t deadline = lx_now_monotonic_ns() + (uint64_t)ms * LX_NSEC_PER_MSEC;
	int report[2];
	bool killed = false;

	assert_int_equal(pipe(report), 0);
	pid_t pid = fork();

	if (pid == 0) {
		close(report[0]);
		write_until_killed(last + 1, report[1]);
	}
	close(report[1]);
	for (;;) {
		struct pollfd p = { .fd = report[0], .events = POLLIN };
		int64_t n;

		if (!killed && lx_now_monotonic_ns() >= deadline) {
			kill_child(pid);
			killed = true;
		}
		if (poll(&p, 1, killed ? -1 : 1) <= 0)
			continue;
		if (read(report[0], &n, sizeof(n)) != sizeof(n))
			break;
		/* Callbacks come in order, so the last one stands for all before it. */
		assert_int_equal(n, last + 1);
		last = n;
	}
	close(report[0]);
	if (!killed)
		kill_child(pid);
	return last;
}

static void check(int64_t last)
{
	struct lx_err err;

	if (try_open(&log_v1, &err) < 0)
		fail_msg("%s", err.msg);
	int64_t rows = number("SELECT count(*) FROM entry");

	/* As many different numbers as rows, up to that number: each once, without a gap. */
	assert_int_equal(number("SELECT count(DISTINCT n) FROM entry WHERE n > 0"), rows);
	assert_int_equal(number("SELECT coalesce(max(n), 0) FROM entry"), rows);
	assert_int_equal(number("SELECT v FROM total"), rows);
	assert_true(rows >= last);
	assert_int_equal(number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"),
			 1);
	close_store();
}

static void acknowledged_is_kept(void **state)
{
	uint64_t end = lx_now_monotonic_ns() + SECONDS * LX_NSEC_PER_SEC;
	int64_t last = 0;
	int rounds = 0;

	/* On a machine that is slow today a round grows until something is acknowledged before its end. */
	for (; lx_now_monotonic_ns() < end || (last == 0 && rounds < ROUNDS_MAX); rounds++) {
		last = kill_round(last, last > 0 ? rand() % ROUND_MS : ROUND_MS + 10 * rounds);
		check(last);
	}
	print_message("killed %d times, %lld transactions acknowledged\n", rounds, (long long)last);
	assert_true(last > 0);
}

/* The file as it was, and nothing beside it. */
static void put_back(const struct lx_buf *file)
{
	for (const char *const *s = (const char *const[]){ "", "-wal", "-shm", ".v1.bak", NULL }; *s; s++) {
		lx_autofree char *name = lx_asprintf("%s%s", path, *s);

		unlink(name);
	}
	assert_int_equal(lx_write_file_atomic(path, file->data, file->len, 0600, NULL), 0);
}

static void a_migration_is_whole_or_not_at_all(void **state)
{
	struct lx_err err;
	lx_autobuf struct lx_buf before = { 0 };
	int finished = 0;

	assert_int_equal(try_open(&log_v1, &err), 0);
	close_store();
	char sql[200];

	snprintf(sql, sizeof(sql),
		 "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %d)"
		 " INSERT INTO entry SELECT n FROM c; UPDATE total SET v = %d;",
		 MIGRATE_ROWS, MIGRATE_ROWS);
	edit_raw(path, sql);
	assert_int_equal(lx_read_file(path, 1 << 24, &before, NULL), 0);

	/* How long one takes here, opening included, and half as long again, is the range to kill within. */
	uint64_t start = lx_now_monotonic_ns();

	assert_int_equal(try_open(&log_v2, &err), 0);
	uint64_t range = (lx_now_monotonic_ns() - start) * 3 / 2 / 1000;

	close_store();

	for (int i = 0; i < MIGRATIONS; i++) {
		put_back(&before);
		pid_t pid = fork();

		if (pid == 0) {
			if (uv_loop_init(&loop) < 0 || try_open(&log_v2, &err) < 0)
				_exit(2);
			pause();
		}
		usleep((useconds_t)((uint64_t)rand() % range));
		kill_child(pid);

		sqlite3 *db = open_raw(path);

		finished += sqlite3_exec(db, "SELECT * FROM done", NULL, NULL, NULL) == SQLITE_OK;
		sqlite3_close(db);
		if (try_open(&log_v2, &err) < 0)
			fail_msg("%s", err.msg);
		assert_int_equal(number("SELECT count(*) FROM entry"), 2 * MIGRATE_ROWS);
		assert_int_equal(number("SELECT v FROM total"), 2 * MIGRATE_ROWS);
		close_store();
		lx_autofree char *backup = lx_asprintf("%s.v1.bak", path);

		assert_true(lx_path_exists(backup));
	}
	print_message("of %d migrations that were killed, %d had been committed\n", MIGRATIONS, finished);
}

int main(void)
{
	unsigned seed = (unsigned)lx_now_realtime_ns();

	print_message("seed %u\n", seed);
	srand(seed);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(acknowledged_is_kept, enter_dir, leave_dir),
		cmocka_unit_test_setup_teardown(a_migration_is_whole_or_not_at_all, enter_dir, leave_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
