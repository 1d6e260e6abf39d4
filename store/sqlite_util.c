/* SQLite in our terms: connections with our settings, statements, and errors with our codes. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/sqlite.h"

#define BUSY_TIMEOUT_MS 5000 /* for whoever looks into the file with another program */

/* ------------------------------------------------------------------ errors */

static enum lx_code code_of(sqlite3 *db, int rc)
{
	int sys = db ? sqlite3_system_errno(db) : 0;

	switch (rc) {
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY:
	case SQLITE_CONSTRAINT_ROWID:
		return LX_ALREADY_EXISTS;
	}
	switch (rc & 0xff) {
	case SQLITE_CONSTRAINT:
		return LX_FAILED_PRECONDITION;
	case SQLITE_FULL:
	case SQLITE_NOMEM:
		return LX_RESOURCE_EXHAUSTED;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return LX_DATA_LOSS;
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return LX_PERMISSION_DENIED;
	case SQLITE_TOOBIG:
		return LX_INVALID_ARGUMENT;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		if (sys == ENOSPC || sys == EDQUOT)
			return LX_RESOURCE_EXHAUSTED;
		if (sys == EACCES || sys == EPERM)
			return LX_PERMISSION_DENIED;
		return LX_UNAVAILABLE;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
		return LX_UNAVAILABLE;
	default:
		return LX_INTERNAL;
	}
}

static void hint_of(enum lx_code code, int rc, struct lx_err *err)
{
	if (code == LX_RESOURCE_EXHAUSTED && (rc & 0xff) != SQLITE_NOMEM)
		lx_err_hint(err, "Free some disk space where the store lies and try again.");
	else if (code == LX_DATA_LOSS)
		lx_err_hint(err, "%s", LX_SQLITE_DAMAGED_HINT);
	else if ((rc & 0xff) == SQLITE_BUSY)
		lx_err_hint(err, "Another program keeps the store locked; end it and try again.");
}

int lx_sqlite_fail(sqlite3 *db, int rc, struct lx_err *err, const char *fmt, ...)
{
	if ((rc & 0xff) == SQLITE_NOMEM)
		return lx_err_oom(err);
	enum lx_code code = code_of(db, rc);
	char context[LX_ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(context, sizeof(context), fmt, ap);
	va_end(ap);
	int r = lx_err_set(err, code, "%s: %s", context, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));

	hint_of(code, rc, err);
	return r;
}

/* ------------------------------------------------------------------ connections */

int lx_sqlite_connect(const char *path, int flags, sqlite3 **ret, struct lx_err *err)
{
	lx_autodb sqlite3 *db = NULL;
	/* No mutex: a connection of ours is used by one thread at a time. */
	int rc = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS);
	/* Half a MiB of pages and no mapping of the file: the manager's memory is scarce. */
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "PRAGMA cache_size=-512; PRAGMA mmap_size=0;", NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return lx_sqlite_fail(db, rc, err, "cannot connect to the file");
	*ret = db;
	db = NULL;
	return 0;
}

/* ------------------------------------------------------------------ statements */

int lx_sqlite_prepare(sqlite3 *db, const char *sql, unsigned flags, sqlite3_stmt **ret, struct lx_err *err)
{
	lx_autostmt sqlite3_stmt *stmt = NULL;
	const char *rest;
	int rc = sqlite3_prepare_v3(db, sql, -1, flags, &stmt, &rest);

	if (rc != SQLITE_OK)
		return lx_sqlite_fail(db, rc, err, "cannot prepare \"%.200s\"", sql);
	while (isspace((unsigned char)*rest))
		rest++;
	if (!stmt || *rest)
		return lx_err_set(err, LX_INTERNAL, "cannot prepare \"%.200s\": it is not one statement",
				  sql);
	*ret = stmt;
	stmt = NULL;
	return 0;
}

static int bind_one(sqlite3_stmt *stmt, int index, const struct lx_sql_value *v)
{
	switch (v->type) {
	case LX_SQL_INT:
		return sqlite3_bind_int64(stmt, index, v->i);
	case LX_SQL_TEXT:
		return sqlite3_bind_text64(stmt, index, v->data, v->len, SQLITE_STATIC, SQLITE_UTF8);
	case LX_SQL_BLOB:
		/* A NULL pointer would bind NULL: an empty blob is not that. */
		return sqlite3_bind_blob64(stmt, index, v->len ? v->data : "", v->len, SQLITE_STATIC);
	case LX_SQL_NULL:
		break;
	}
	return sqlite3_bind_null(stmt, index);
}

int lx_sqlite_bind_all(sqlite3_stmt *stmt, const struct lx_sql_value *args, int n_args, struct lx_err *err)
{
	int wanted = sqlite3_bind_parameter_count(stmt);

	if (wanted != n_args)
		return lx_err_set(err, LX_INTERNAL, "\"%.200s\" wants %d arguments, got %d",
				  sqlite3_sql(stmt), wanted, n_args);
	for (int i = 0; i < n_args; i++) {
		int rc = bind_one(stmt, i + 1, &args[i]);

		if (rc != SQLITE_OK)
			return lx_sqlite_fail(sqlite3_db_handle(stmt), rc, err, "argument %d of \"%.200s\"",
					      i + 1, sqlite3_sql(stmt));
	}
	return 0;
}

int lx_sqlite_exec(sqlite3 *db, const char *sql, struct lx_err *err)
{
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : lx_sqlite_fail(db, rc, err, "cannot run \"%.200s\"", sql);
}

int lx_sqlite_get_text(sqlite3 *db, const char *sql, char **ret, struct lx_err *err)
{
	lx_autostmt sqlite3_stmt *stmt = NULL;
	int r = lx_sqlite_prepare(db, sql, 0, &stmt, err);

	if (r < 0)
		return r;
	int rc = sqlite3_step(stmt);

	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return lx_sqlite_fail(db, rc, err, "cannot run \"%.200s\"", sql);
	const unsigned char *text = rc == SQLITE_ROW ? sqlite3_column_text(stmt, 0) : NULL;
	char *copy = strdup(text ? (const char *)text : "");

	if (!copy)
		return lx_err_oom(err);
	*ret = copy;
	return 0;
}

int lx_sqlite_get_int(sqlite3 *db, const char *sql, int64_t *ret, struct lx_err *err)
{
	lx_autostmt sqlite3_stmt *stmt = NULL;
	int r = lx_sqlite_prepare(db, sql, 0, &stmt, err);

	if (r < 0)
		return r;
	int rc = sqlite3_step(stmt);

	if (rc != SQLITE_ROW)
		return lx_sqlite_fail(db, rc, err, "cannot run \"%.200s\"", sql);
	*ret = sqlite3_column_int64(stmt, 0);
	return 0;
}
