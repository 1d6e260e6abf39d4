/*
 * Inside of a transaction, for the engines: statements in order, their arguments side by
 * side, and one buffer for every text and blob. Read-only once it was submitted.
 */
#ifndef LX_STORE_TXN_H
#define LX_STORE_TXN_H

#include "lib/buf.h"
#include "store/store.h"

#define LX_TXN_ANY_ROWS (-1)

struct lx_txn_stmt {
	const char *sql;
	size_t first_arg;
	int n_args;
	int expect; /* rows, or LX_TXN_ANY_ROWS */
	size_t why; /* offset in bytes */
};

enum lx_txn_fault {
	LX_TXN_SOUND,
	LX_TXN_NO_MEMORY,
	LX_TXN_NO_STATEMENT, /* an argument or a guard before the first statement */
	LX_TXN_TOO_MANY,
};

struct lx_txn {
	char *key; /* NULL: not idempotent */
	struct lx_txn_stmt *stmts;
	size_t n_stmts, cap_stmts;
	struct lx_sql_value *args; /* until sealed, data of texts and blobs is unset and i their offset */
	size_t n_args, cap_args;
	struct lx_buf bytes;
	enum lx_txn_fault fault; /* the first one */
};

/* Ends the building: fails when it had a fault, else the arguments are complete. */
int lx_txn_seal(struct lx_txn *t, struct lx_err *err);
/* What to say when the guard of a statement does not hold. */
const char *lx_txn_why(const struct lx_txn *t, const struct lx_txn_stmt *s);

#endif
