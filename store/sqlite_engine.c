/*
 * Transactions on SQLite: write-ahead log, synchronous=FULL.
 *
 * A batch of jobs is one SQLite transaction, so that it costs one fsync; each job is a
 * savepoint in it, so that it succeeds or fails alone. When the transaction as a whole is
 * lost (the disk is full at the commit, SQLite had to roll back in the middle, a deferred
 * constraint is broken), its jobs are run again one by one, each in a transaction of its
 * own: then the failure hits only the jobs it belongs to. When not even BEGIN works,
 * everything fails with that reason. In each case the connection is left without an open
 * transaction and takes the next batch.
 *
 * A job with a key first puts the key into lx_txn_key, in the same savepoint; a key that
 * is there already means the job was committed before, and is success.
 *
 * The file is locked (flock, which SQLite does not use) for as long as it is open: a
 * second manager on the same file would overwrite what the first holds in memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/map.h"
#include "store/sqlite.h"

#define STATEMENTS_MAX   128 /* prepared statements kept */
#define PURGE_INTERVAL_S 3600
#define KEY_LIFE_S       (LX_STORE_KEY_DAYS * INT64_C(86400))

struct sqlite_engine {
	struct lx_engine base;
	char *path;
	int lock; /* closed after the connection: closing it earlier would drop SQLite's own locks */
	sqlite3 *db;
	struct lx_map statements; /* SQL text: sqlite3_stmt */
	int64_t purged_at;
};

static struct sqlite_engine *sqlite_engine(struct lx_engine *e)
{
	return lx_container_of(e, struct sqlite_engine, base);
}

/* ------------------------------------------------------------------ statements */

static void finalize(void *stmt)
{
	sqlite3_finalize(stmt);
}

static int cached(struct sqlite_engine *e, const char *sql, sqlite3_stmt **ret, struct lx_err *err)
{
	*ret = lx_map_get(&e->statements, sql);
	if (*ret)
		return 0;
	int r = lx_sqlite_prepare(e->db, sql, SQLITE_PREPARE_PERSISTENT, ret, err);

	if (r < 0)
		return r;
	if (lx_map_count(&e->statements) == STATEMENTS_MAX)
		lx_map_del(&e->statements, lx_map_key(lx_map_first(&e->statements)));
	if (lx_map_set(&e->statements, sql, *ret) < 0) {
		sqlite3_finalize(*ret);
		return lx_err_oom(err);
	}
	return 0;
}

/* Runs a statement to its end, discarding rows, and says how many rows it changed. */
static int run(struct sqlite_engine *e, const char *sql, const struct lx_sql_value *args, int n_args,
	       int64_t *ret_changes, struct lx_err *err)
{
	sqlite3_stmt *stmt;
	int r = cached(e, sql, &stmt, err);

	if (r < 0)
		return r;
	int64_t before = sqlite3_total_changes64(e->db);

	r = lx_sqlite_bind_all(stmt, args, n_args, err);
	if (r == 0) {
		int rc;

		do {
			rc = sqlite3_step(stmt);
		} while (rc == SQLITE_ROW);
		if (rc != SQLITE_DONE)
			r = lx_sqlite_fail(e->db, rc, err, "cannot write the store");
	}
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	/* After a statement that changes nothing, sqlite3_changes64() still counts the one before. */
	*ret_changes = sqlite3_total_changes64(e->db) == before ? 0 : sqlite3_changes64(e->db);
	return r;
}

/* BEGIN, SAVEPOINT and the like. */
static int control(struct sqlite_engine *e, const char *sql, struct lx_err *err)
{
	int64_t changes;

	return run(e, sql, NULL, 0, &changes, err);
}

/* ------------------------------------------------------------------ idempotency keys */

static int64_t now_seconds(void)
{
	return (int64_t)(lx_now_realtime_ns() / LX_NSEC_PER_SEC);
}

static int claim_key(struct sqlite_engine *e, const char *key, bool *ret_replayed, struct lx_err *err)
{
	const struct lx_sql_value args[] = {
		{ .type = LX_SQL_TEXT, .data = key, .len = strlen(key) },
		{ .type = LX_SQL_INT, .i = now_seconds() },
	};
	int64_t changes;
	int r = run(e, "INSERT OR IGNORE INTO lx_txn_key (key, at) VALUES (?1, ?2)", args, 2, &changes, err);

	*ret_replayed = r == 0 && changes == 0;
	return r;
}

/* Forgets keys nobody will retry any more. That it failed does no harm: the next one will do. */
static void purge_keys(struct sqlite_engine *e)
{
	int64_t now = now_seconds(), changes;
	const struct lx_sql_value before = { .type = LX_SQL_INT, .i = now - KEY_LIFE_S };

	if (now - e->purged_at < PURGE_INTERVAL_S)
		return;
	e->purged_at = now;
	run(e, "DELETE FROM lx_txn_key WHERE at < ?1", &before, 1, &changes, NULL);
}

/* ------------------------------------------------------------------ jobs and batches */

static int run_statements(struct sqlite_engine *e, const struct lx_txn *t, struct lx_store_result *result,
			  struct lx_err *err)
{
	if (t->key) {
		int r = claim_key(e, t->key, &result->replayed, err);

		if (r < 0 || result->replayed)
			return r;
	}
	for (size_t i = 0; i < t->n_stmts; i++) {
		const struct lx_txn_stmt *s = &t->stmts[i];
		const struct lx_sql_value *args = s->n_args ? &t->args[s->first_arg] : NULL;
		int64_t changes;
		int r = run(e, s->sql, args, s->n_args, &changes, err);

		if (r < 0)
			return r;
		if (s->expect != LX_TXN_ANY_ROWS && s->expect != changes)
			return lx_err_set(err, LX_ABORTED, "%s", lx_txn_why(t, s));
		result->changes += changes;
	}
	return 0;
}

/* Runs a job in a savepoint. False when the whole transaction is lost, with the reason in err. */
static bool run_job(struct sqlite_engine *e, struct lx_engine_job *job, struct lx_err *err)
{
	lx_engine_job_release(job);
	job->result = (struct lx_store_result){ 0 };
	if (control(e, "SAVEPOINT job", err) < 0)
		return false;
	if (run_statements(e, job->txn, &job->result, err) < 0) {
		/* On some errors SQLite rolls back everything by itself. */
		if (sqlite3_get_autocommit(e->db) || control(e, "ROLLBACK TO job", NULL) < 0)
			return false;
		lx_engine_job_fail(job, err);
	}
	return control(e, "RELEASE job", err) == 0;
}

enum outcome {
	COMMITTED, /* each job has its own outcome */
	NOT_BEGUN, /* nothing was tried */
	LOST,      /* something was tried, and rolled back */
};

static enum outcome run_batch(struct sqlite_engine *e, struct lx_engine_job *const *jobs, size_t n,
			      struct lx_err *err)
{
	bool stands = true;

	if (control(e, "BEGIN IMMEDIATE", err) < 0)
		return NOT_BEGUN;
	for (size_t i = 0; i < n && stands; i++)
		stands = run_job(e, jobs[i], err);
	if (stands && control(e, "COMMIT", err) == 0)
		return COMMITTED;
	if (!sqlite3_get_autocommit(e->db))
		sqlite3_exec(e->db, "ROLLBACK", NULL, NULL, NULL);
	return LOST;
}

static void apply(struct lx_engine *base, struct lx_engine_job *const *jobs, size_t n)
{
	struct sqlite_engine *e = sqlite_engine(base);
	struct lx_err err = LX_ERR_INIT;

	purge_keys(e);
	enum outcome all = run_batch(e, jobs, n, &err);

	if (all == COMMITTED)
		return;
	/* One by one, unless that was just tried. A BEGIN that fails has waited long enough for all. */
	bool retry = all == LOST && n > 1;

	for (size_t i = 0; i < n; i++) {
		enum outcome one = retry ? run_batch(e, &jobs[i], 1, &err) : LOST;

		if (one != COMMITTED)
			lx_engine_job_fail(jobs[i], &err);
		if (one == NOT_BEGUN)
			retry = false;
	}
}

static int query(struct lx_engine *base, const char *sql, const struct lx_sql_value *args, int n_args,
		 lx_store_row row, void *arg, struct lx_err *err)
{
	/* The path as SQLite made it absolute, in case the working directory has changed. */
	const char *path = sqlite3_db_filename(sqlite_engine(base)->db, "main");

	return lx_sqlite_query(path, sql, args, n_args, row, arg, err);
}

/* ------------------------------------------------------------------ open and close */

static void close_engine(struct lx_engine *base)
{
	struct sqlite_engine *e = sqlite_engine(base);

	lx_map_release(&e->statements);
	sqlite3_close(e->db);
	if (e->lock >= 0)
		close(e->lock);
	free(e->path);
	free(e);
}

/* Creates the file when there is none, before SQLite does it with a mode of its own. */
static int lock_file(struct sqlite_engine *e, struct lx_err *err)
{
	e->lock = open(e->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (e->lock < 0)
		return lx_err_errno(err, errno, "cannot open the file");
	if (flock(e->lock, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return lx_err_errno(err, errno, "cannot lock the file");
		int r = lx_err_set(err, LX_UNAVAILABLE, "it is in use by another process");

		lx_err_hint(err, "Only one manager may run on a store; stop the other one first.");
		return r;
	}
	return 0;
}

static int check_integrity(sqlite3 *db, struct lx_err *err)
{
	lx_autofree char *verdict = NULL;
	int r = lx_sqlite_get_text(db, "PRAGMA quick_check(1)", &verdict, err);

	if (r < 0 || strcmp(verdict, "ok") == 0)
		return r;
	r = lx_err_set(err, LX_DATA_LOSS, "the file is damaged: %s", verdict);
	lx_err_hint(err, "%s", LX_SQLITE_DAMAGED_HINT);
	return r;
}

/* Not every file system can do it; without it a commit would lock out readers. */
static int write_ahead(sqlite3 *db, struct lx_err *err)
{
	lx_autofree char *mode = NULL;
	int r = lx_sqlite_get_text(db, "PRAGMA journal_mode=WAL", &mode, err);

	if (r == 0 && strcmp(mode, "wal") != 0)
		r = lx_err_set(err, LX_FAILED_PRECONDITION,
			       "the file system does not support a write-ahead log (journal mode \"%s\")",
			       mode);
	if (r == 0)
		r = lx_sqlite_exec(db, "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=4194304;", err);
	return r;
}

static int prepare_file(struct sqlite_engine *e, const struct lx_schema *schema, struct lx_err *err)
{
	int r = lock_file(e, err);

	if (r == 0)
		r = lx_sqlite_connect(e->path, SQLITE_OPEN_READWRITE, &e->db, err);
	if (r == 0)
		r = check_integrity(e->db, err);
	if (r == 0)
		r = write_ahead(e->db, err);
	if (r == 0)
		r = lx_sqlite_migrate(e->db, e->path, schema, err);
	if (r == 0)
		r = lx_sqlite_exec(
			e->db,
			"CREATE TABLE IF NOT EXISTS lx_txn_key (key TEXT PRIMARY KEY, at INTEGER NOT NULL)"
			" WITHOUT ROWID; PRAGMA foreign_keys=ON;",
			err);
	if (r == 0)
		purge_keys(e);
	return r;
}

static int open_engine(const char *path, const struct lx_schema *schema, struct lx_engine **ret,
		       struct lx_err *err)
{
	struct sqlite_engine *e = calloc(1, sizeof(*e));

	if (!e)
		return lx_err_oom(err);
	e->base.ops = &lx_sqlite_engine;
	e->lock = -1;
	lx_map_init(&e->statements, finalize);
	e->path = strdup(path);
	int r = e->path ? prepare_file(e, schema, err) : lx_err_oom(err);

	if (r < 0) {
		close_engine(&e->base);
		lx_err_wrap(err, "cannot open store %s", path);
		return r;
	}
	*ret = &e->base;
	return 0;
}

const struct lx_engine_ops lx_sqlite_engine = {
	.open = open_engine,
	.close = close_engine,
	.apply = apply,
	.query = query,
};
