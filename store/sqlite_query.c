/*
 * Reading. Queries are few (at start, and when an administrator asks), so each opens a
 * read-only connection and closes it again: nothing of it stays in memory, and it may run
 * beside the writer. It sees everything whose callback has run.
 */
#include <stdlib.h>

#include "lib/cleanup.h"
#include "store/sqlite.h"

/* 0, or SQLITE_NOMEM when a conversion ran out of memory. */
static int read_column(sqlite3_stmt *stmt, int i, struct lx_sql_value *v)
{
	*v = (struct lx_sql_value){ .type = LX_SQL_NULL };
	switch (sqlite3_column_type(stmt, i)) {
	case SQLITE_NULL:
		return 0;
	case SQLITE_INTEGER:
		v->type = LX_SQL_INT;
		v->i = sqlite3_column_int64(stmt, i);
		return 0;
	case SQLITE_BLOB:
		v->type = LX_SQL_BLOB;
		v->data = sqlite3_column_blob(stmt, i);
		v->len = (size_t)sqlite3_column_bytes(stmt, i);
		return v->len > 0 && !v->data ? SQLITE_NOMEM : 0;
	default: /* text; a floating point number comes as text too */
		v->type = LX_SQL_TEXT;
		v->data = sqlite3_column_text(stmt, i);
		v->len = (size_t)sqlite3_column_bytes(stmt, i);
		return v->data ? 0 : SQLITE_NOMEM;
	}
}

/* Calls `row` for each row; what it returned last is left in *ret_row. */
static int read_rows(sqlite3 *db, sqlite3_stmt *stmt, lx_store_row row, void *arg, int *ret_row,
		     struct lx_err *err)
{
	int n = sqlite3_column_count(stmt), rc;
	lx_autofree struct lx_sql_value *cols = calloc((size_t)n + 1, sizeof(*cols));

	if (!cols)
		return lx_err_oom(err);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		for (int i = 0; i < n; i++)
			if (read_column(stmt, i, &cols[i]) != 0)
				return lx_err_oom(err);
		*ret_row = row(cols, n, arg);
		if (*ret_row != 0)
			return 0;
	}
	return rc == SQLITE_DONE ? 0 : lx_sqlite_fail(db, rc, err, "\"%.200s\" failed", sqlite3_sql(stmt));
}

static int query(const char *path, const char *sql, const struct lx_sql_value *args, int n_args,
		 lx_store_row row, void *arg, int *ret_row, struct lx_err *err)
{
	lx_autodb sqlite3 *db = NULL;
	lx_autostmt sqlite3_stmt *stmt = NULL; /* declared last: finalized before the connection closes */
	int r = lx_sqlite_connect(path, SQLITE_OPEN_READONLY, &db, err);

	if (r == 0)
		r = lx_sqlite_prepare(db, sql, 0, &stmt, err);
	if (r == 0)
		r = lx_sqlite_bind_all(stmt, args, n_args, err);
	return r < 0 ? r : read_rows(db, stmt, row, arg, ret_row, err);
}

int lx_sqlite_query(const char *path, const char *sql, const struct lx_sql_value *args, int n_args,
		    lx_store_row row, void *arg, struct lx_err *err)
{
	int ret_row = 0;
	int r = query(path, sql, args, n_args, row, arg, &ret_row, err);

	if (r < 0) {
		lx_err_wrap(err, "cannot read store %s", path);
		return r;
	}
	return ret_row;
}
