/*
 * What the files of the SQLite engine share:
 *
 *   sqlite_engine.c   opening, applying batches of transactions, closing
 *   sqlite_schema.c   bringing a file to the schema of this program
 *   sqlite_query.c    reading, on a connection of its own
 *   sqlite_util.c     connections, statements, and errors in our terms
 */
#ifndef LX_STORE_SQLITE_H
#define LX_STORE_SQLITE_H

#include <sqlite3.h>

#include "store/engine.h"

#define LX_SQLITE_DAMAGED_HINT "Stop the manager and put a backup of the store in its place."

/*
 * Turns the result code `rc` of `db` into an error "<context>: <SQLite's text>". Returns a
 * negative errno. With `db` NULL the text is the constant one of the code.
 */
int lx_sqlite_fail(sqlite3 *db, int rc, struct lx_err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Opens a connection with what every connection of ours has: busy timeout, small cache. */
int lx_sqlite_connect(const char *path, int flags, sqlite3 **ret, struct lx_err *err);

/* Prepares exactly one statement; a second one in the text is refused. */
int lx_sqlite_prepare(sqlite3 *db, const char *sql, unsigned flags, sqlite3_stmt **ret, struct lx_err *err);

/* Binds ?1 to ?n_args, which must be all. The data must stay until the statement is reset. */
int lx_sqlite_bind_all(sqlite3_stmt *stmt, const struct lx_sql_value *args, int n_args, struct lx_err *err);

/* Runs constant SQL, maybe several statements, ignoring rows. */
int lx_sqlite_exec(sqlite3 *db, const char *sql, struct lx_err *err);

/* The first column of the first row as text (malloc'ed; "" without a row). */
int lx_sqlite_get_text(sqlite3 *db, const char *sql, char **ret, struct lx_err *err);
int lx_sqlite_get_int(sqlite3 *db, const char *sql, int64_t *ret, struct lx_err *err);

/*
 * Brings the database to schema->n_steps, keeping a copy of an older file beside it, and
 * turns on foreign keys for the connection.
 */
int lx_sqlite_migrate(sqlite3 *db, const char *path, const struct lx_schema *schema, struct lx_err *err);

/* The engine's query() on the file at `path`. */
int lx_sqlite_query(const char *path, const char *sql, const struct lx_sql_value *args, int n_args,
		    lx_store_row row, void *arg, struct lx_err *err);

static inline void lx_sqlite_cleanup_stmt(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}

static inline void lx_sqlite_cleanup_db(sqlite3 **db)
{
	sqlite3_close(*db);
}

#define lx_autostmt __attribute__((cleanup(lx_sqlite_cleanup_stmt)))
#define lx_autodb   __attribute__((cleanup(lx_sqlite_cleanup_db)))

#endif
