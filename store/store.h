/*
 * The manager's store: SQL behind one-request-one-transaction.
 *
 * A request (struct lx_txn) is a whole transaction: a list of statements with their
 * arguments, guards, and an idempotency key. There is no begin/callback/commit, so a
 * replicated engine can stand behind the same interface. Requests run in the order they
 * were submitted, on a thread of the store's own; requests that wait together share one
 * fsync (each still succeeds or fails alone). The callback runs on the loop, exactly
 * once, never before lx_store_submit() has returned, and after the data is on the disk.
 *
 * Idempotency: a transaction whose key was already committed is not run again; its
 * callback gets success and `replayed`. Keys are kept for LX_STORE_KEY_DAYS days.
 *
 * Everything read at run time comes from the manager's memory; queries exist for loading
 * at start, for the audit log and for old operations.
 */
#ifndef LX_STORE_STORE_H
#define LX_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "lib/err.h"

#define LX_STORE_KEY_DAYS       7
#define LX_STORE_MAX_STATEMENTS 4096 /* in one transaction */

struct lx_store;
struct lx_txn;

enum lx_sql_type { LX_SQL_NULL, LX_SQL_INT, LX_SQL_TEXT, LX_SQL_BLOB };

struct lx_sql_value {
	enum lx_sql_type type;
	int64_t i;
	const void *data; /* text or blob; text also has a NUL after len */
	size_t len;
};

/* ------------------------------------------------------------------ building */

/* `key` may be NULL (not idempotent). Copied. NULL when out of memory. */
struct lx_txn *lx_txn_new(const char *key);
void lx_txn_free(struct lx_txn *t); /* only for one that was not submitted */

/*
 * Adds a statement; the following lx_txn_* bind its ?1, ?2 ... in order. `sql` is borrowed
 * for the life of the transaction (a string constant; prepared statements are cached).
 * An allocation failure is remembered and reported by lx_store_submit().
 */
void lx_txn_exec(struct lx_txn *t, const char *sql);
/* A guard: the statement before must have changed exactly `rows` rows, else the whole
 * transaction is rolled back and fails with LX_ABORTED and `why` (copied). */
void lx_txn_expect(struct lx_txn *t, int rows, const char *why);
void lx_txn_int(struct lx_txn *t, int64_t v);
void lx_txn_text(struct lx_txn *t, const char *s);                /* copied; NULL binds NULL */
void lx_txn_blob(struct lx_txn *t, const void *data, size_t len); /* copied */

struct lx_store_result {
	int64_t changes; /* rows changed by all statements */
	bool replayed;   /* the key had been committed before; nothing was done */
};
/* err->code LX_OK on success. A broken UNIQUE is LX_ALREADY_EXISTS, a full disk
 * LX_RESOURCE_EXHAUSTED (the store stays usable), a busy or damaged file LX_UNAVAILABLE
 * or LX_DATA_LOSS. */
typedef void (*lx_store_cb)(const struct lx_store_result *res, const struct lx_err *err, void *arg);

/* ------------------------------------------------------------------ schema */

/* Step N of the list takes the schema from version N to N+1; steps are only ever appended. */
struct lx_schema {
	const char *const *steps;
	size_t n_steps;
};

/* ------------------------------------------------------------------ the store */

/*
 * Opens (creating it, mode 0600), checks and migrates, keeping a copy of an older file as
 * <path>.v<version>.bak. Refused: a file from a newer version (LX_FAILED_PRECONDITION), a
 * damaged one (LX_DATA_LOSS), one that another process has open (LX_UNAVAILABLE). The loop
 * is where callbacks run; the store keeps it alive only while a request is under way.
 * `schema` is used during the call only. Synchronous.
 */
int lx_store_open(uv_loop_t *loop, const char *path, const struct lx_schema *schema, struct lx_store **ret,
		  struct lx_err *err);
/*
 * Finishes what was submitted, runs the callbacks (which can submit nothing more), closes.
 * Synchronous, on the loop's thread, never from one of the store's own callbacks. The loop
 * must turn once more before uv_loop_close(), as after any uv_close(). NULL is fine.
 */
void lx_store_close(struct lx_store *s);
/*
 * Takes the transaction over, also on failure. 0 or negative errno (then cb never runs).
 * cb may be NULL. Only on the loop's thread; callbacks may submit.
 */
int lx_store_submit(struct lx_store *s, struct lx_txn *t, lx_store_cb cb, void *arg, struct lx_err *err);

/*
 * Synchronous read on the caller's thread with a connection of its own: for start-up and
 * administration. `row` gets the columns of each row, borrowed; non-zero stops and is returned.
 * Bind ?1.. from `args`.
 */
typedef int (*lx_store_row)(const struct lx_sql_value *cols, int n, void *arg);
int lx_store_query(struct lx_store *s, const char *sql, const struct lx_sql_value *args, int n_args,
		   lx_store_row row, void *arg, struct lx_err *err);

#endif
