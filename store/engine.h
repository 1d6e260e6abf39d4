/*
 * What stands between the store's queue and a SQL engine. The store owns threads, order
 * and callbacks; an engine only knows how to open a database and bring it to a schema,
 * apply transactions, and read. SQLite is one; a replicated engine can be another.
 *
 * apply() is called from one thread at a time; query() may run beside it on another.
 */
#ifndef LX_STORE_ENGINE_H
#define LX_STORE_ENGINE_H

#include "store/store.h"
#include "store/txn.h"

struct lx_engine_job {
	const struct lx_txn *txn;
	struct lx_store_result result;
	struct lx_err *err; /* NULL: it is committed */
};

struct lx_engine {
	const struct lx_engine_ops *ops;
};

struct lx_engine_ops {
	int (*open)(const char *path, const struct lx_schema *schema, struct lx_engine **ret,
		    struct lx_err *err);
	void (*close)(struct lx_engine *e);
	/*
	 * Runs the jobs in order, each wholly or not at all, and returns when what succeeded
	 * will survive a power cut. Fills result and err of every job. Cannot fail itself.
	 */
	void (*apply)(struct lx_engine *e, struct lx_engine_job *const *jobs, size_t n);
	int (*query)(struct lx_engine *e, const char *sql, const struct lx_sql_value *args, int n_args,
		     lx_store_row row, void *arg, struct lx_err *err);
};

extern const struct lx_engine_ops lx_sqlite_engine;

/* Records a failure (a copy of err; a constant one when there is no memory for it). */
void lx_engine_job_fail(struct lx_engine_job *job, const struct lx_err *err);
void lx_engine_job_release(struct lx_engine_job *job);

#endif
