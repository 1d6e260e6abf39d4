/*
 * Building a transaction. The builders return nothing, so that a transaction reads as a
 * list of statements; the first fault is kept in it and lx_store_submit() reports it.
 */
#include "store/txn.h"

#include <stdlib.h>
#include <string.h>

struct lx_txn *lx_txn_new(const char *key)
{
	struct lx_txn *t = calloc(1, sizeof(*t));

	if (!t || !key)
		return t;
	t->key = strdup(key);
	if (!t->key) {
		free(t);
		return NULL;
	}
	return t;
}

void lx_txn_free(struct lx_txn *t)
{
	if (!t)
		return;
	free(t->key);
	free(t->stmts);
	free(t->args);
	lx_buf_release(&t->bytes);
	free(t);
}

int lx_txn_seal(struct lx_txn *t, struct lx_err *err)
{
	switch (t->fault) {
	case LX_TXN_SOUND:
		break;
	case LX_TXN_NO_MEMORY:
		return lx_err_oom(err);
	case LX_TXN_NO_STATEMENT:
		return lx_err_set(err, LX_INTERNAL,
				  "transaction has an argument or a guard before its first statement");
	case LX_TXN_TOO_MANY:
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "transaction has more than %d statements",
				  LX_STORE_MAX_STATEMENTS);
	}
	/* The buffer no longer moves: point into it. */
	for (size_t i = 0; i < t->n_args; i++)
		if (t->args[i].type == LX_SQL_TEXT || t->args[i].type == LX_SQL_BLOB)
			t->args[i].data = t->bytes.data + t->args[i].i;
	return 0;
}

const char *lx_txn_why(const struct lx_txn *t, const struct lx_txn_stmt *s)
{
	return lx_buf_str(&t->bytes) + s->why;
}

static void fault(struct lx_txn *t, enum lx_txn_fault f)
{
	if (t->fault == LX_TXN_SOUND)
		t->fault = f;
}

/* Room for one more element; false when out of memory. */
static bool grow(void **array, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return true;
	size_t want = *cap ? *cap * 2 : 4;
	void *p = reallocarray(*array, want, size);

	if (!p)
		return false;
	*array = p;
	*cap = want;
	return true;
}

void lx_txn_exec(struct lx_txn *t, const char *sql)
{
	if (t->n_stmts == LX_STORE_MAX_STATEMENTS)
		fault(t, LX_TXN_TOO_MANY);
	else if (!grow((void **)&t->stmts, t->n_stmts, &t->cap_stmts, sizeof(*t->stmts)))
		fault(t, LX_TXN_NO_MEMORY);
	/* After a fault nothing is added: arguments would go to the wrong statement. */
	if (t->fault != LX_TXN_SOUND)
		return;
	t->stmts[t->n_stmts++] =
		(struct lx_txn_stmt){ .sql = sql, .first_arg = t->n_args, .expect = LX_TXN_ANY_ROWS };
}

/* The statement that arguments and guards belong to, or NULL after a fault. */
static struct lx_txn_stmt *current(struct lx_txn *t)
{
	if (t->n_stmts == 0)
		fault(t, LX_TXN_NO_STATEMENT);
	return t->fault == LX_TXN_SOUND ? &t->stmts[t->n_stmts - 1] : NULL;
}

/* Copies text or a blob, a NUL behind it; false when out of memory. */
static bool keep(struct lx_txn *t, const void *data, size_t len, size_t *ret_at)
{
	*ret_at = t->bytes.len;
	if (lx_buf_reserve(&t->bytes, len + 1) < 0 || lx_buf_append(&t->bytes, data, len) < 0 ||
	    lx_buf_append(&t->bytes, "", 1) < 0) {
		fault(t, LX_TXN_NO_MEMORY);
		return false;
	}
	return true;
}

void lx_txn_expect(struct lx_txn *t, int rows, const char *why)
{
	struct lx_txn_stmt *s = current(t);

	if (s && keep(t, why, strlen(why), &s->why))
		s->expect = rows;
}

static void add_arg(struct lx_txn *t, struct lx_sql_value arg)
{
	struct lx_txn_stmt *s = current(t);

	if (!s)
		return;
	if (!grow((void **)&t->args, t->n_args, &t->cap_args, sizeof(*t->args))) {
		fault(t, LX_TXN_NO_MEMORY);
		return;
	}
	t->args[t->n_args++] = arg;
	s->n_args++;
}

void lx_txn_int(struct lx_txn *t, int64_t v)
{
	add_arg(t, (struct lx_sql_value){ .type = LX_SQL_INT, .i = v });
}

static void add_bytes(struct lx_txn *t, enum lx_sql_type type, const void *data, size_t len)
{
	size_t at;

	if (keep(t, data, len, &at))
		add_arg(t, (struct lx_sql_value){ .type = type, .i = (int64_t)at, .len = len });
}

void lx_txn_text(struct lx_txn *t, const char *s)
{
	if (s)
		add_bytes(t, LX_SQL_TEXT, s, strlen(s));
	else
		add_arg(t, (struct lx_sql_value){ .type = LX_SQL_NULL });
}

void lx_txn_blob(struct lx_txn *t, const void *data, size_t len)
{
	add_bytes(t, LX_SQL_BLOB, data, len);
}
