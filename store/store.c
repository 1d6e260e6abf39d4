/*
 * The queue and the thread.
 *
 *   loop thread                          writer thread
 *   lx_store_submit() --> pending -----> takes up to BATCH_MAX, engine->apply()
 *   callback <-- on_wakeup() <-- done <- puts them back, uv_async_send()
 *
 * One lock guards both lists. Requests stay in the order they were submitted in both, so
 * callbacks run in that order too. The loop is kept alive only while something is under
 * way. What can fail: the engine, and it says so in each job; nothing is ever dropped,
 * because a request is one allocation that travels through both lists.
 */
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/list.h"
#include "store/engine.h"
#include "store/store.h"

#define BATCH_MAX   256   /* requests that share one commit */
#define PENDING_MAX 65536 /* requests waiting or under way; a disk that slow is a fault */

struct request {
	struct lx_engine_job job;
	struct lx_txn *txn;
	lx_store_cb cb;
	void *arg;
	STAILQ_ENTRY(request) next;
};

STAILQ_HEAD(requests, request);

struct lx_store {
	struct lx_engine *engine;
	uv_async_t *wakeup; /* apart, because it outlives us until the loop has closed it */
	uv_thread_t writer;
	size_t under_way; /* submitted, callback not run; loop thread only */

	uv_mutex_t lock;
	uv_cond_t more;
	struct requests pending;
	struct requests done;
	bool closing;
};

/* ------------------------------------------------------------------ writer thread */

/* Waits for work. 0 when there is none and none will come. */
static size_t take_batch(struct lx_store *s, struct lx_engine_job *jobs[BATCH_MAX], struct requests *batch)
{
	size_t n = 0;

	uv_mutex_lock(&s->lock);
	while (STAILQ_EMPTY(&s->pending) && !s->closing)
		uv_cond_wait(&s->more, &s->lock);
	while (n < BATCH_MAX && !STAILQ_EMPTY(&s->pending)) {
		struct request *r = STAILQ_FIRST(&s->pending);

		STAILQ_REMOVE_HEAD(&s->pending, next);
		STAILQ_INSERT_TAIL(batch, r, next);
		jobs[n++] = &r->job;
	}
	uv_mutex_unlock(&s->lock);
	return n;
}

static void write_batches(void *arg)
{
	struct lx_store *s = arg;
	struct lx_engine_job *jobs[BATCH_MAX];
	struct requests batch = STAILQ_HEAD_INITIALIZER(batch);
	size_t n;

	while ((n = take_batch(s, jobs, &batch)) > 0) {
		s->engine->ops->apply(s->engine, jobs, n);
		uv_mutex_lock(&s->lock);
		STAILQ_CONCAT(&s->done, &batch);
		uv_mutex_unlock(&s->lock);
		uv_async_send(s->wakeup);
	}
}

/* ------------------------------------------------------------------ loop thread */

static void free_request(struct request *r)
{
	lx_engine_job_release(&r->job);
	lx_txn_free(r->txn);
	free(r);
}

static void run_callbacks(struct lx_store *s)
{
	struct requests done = STAILQ_HEAD_INITIALIZER(done);
	struct request *r;

	uv_mutex_lock(&s->lock);
	STAILQ_CONCAT(&done, &s->done);
	uv_mutex_unlock(&s->lock);

	while ((r = STAILQ_FIRST(&done))) {
		static const struct lx_err ok = { .code = LX_OK };

		STAILQ_REMOVE_HEAD(&done, next);
		if (--s->under_way == 0)
			uv_unref((uv_handle_t *)s->wakeup);
		if (r->cb)
			r->cb(&r->job.result, r->job.err ? r->job.err : &ok, r->arg);
		free_request(r);
	}
}

static void on_wakeup(uv_async_t *handle)
{
	run_callbacks(handle->data);
}

int lx_store_submit(struct lx_store *s, struct lx_txn *t, lx_store_cb cb, void *arg, struct lx_err *err)
{
	int ret = lx_txn_seal(t, err);

	if (ret == 0 && s->closing)
		ret = lx_err_set(err, LX_UNAVAILABLE, "the store is closing");
	if (ret == 0 && s->under_way >= PENDING_MAX)
		ret = lx_err_set(err, LX_UNAVAILABLE,
				 "the store is overloaded: %d transactions wait for the disk", PENDING_MAX);
	struct request *r = ret == 0 ? malloc(sizeof(*r)) : NULL;

	if (!r) {
		lx_txn_free(t);
		return ret < 0 ? ret : lx_err_oom(err);
	}
	*r = (struct request){ .job = { .txn = t }, .txn = t, .cb = cb, .arg = arg };

	if (s->under_way++ == 0)
		uv_ref((uv_handle_t *)s->wakeup);
	uv_mutex_lock(&s->lock);
	STAILQ_INSERT_TAIL(&s->pending, r, next);
	uv_cond_signal(&s->more);
	uv_mutex_unlock(&s->lock);
	return 0;
}

int lx_store_query(struct lx_store *s, const char *sql, const struct lx_sql_value *args, int n_args,
		   lx_store_row row, void *arg, struct lx_err *err)
{
	return s->engine->ops->query(s->engine, sql, args, n_args, row, arg, err);
}

/* ------------------------------------------------------------------ open and close */

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

/* Everything but the engine. On failure nothing of it is left. */
static int start(struct lx_store *s, uv_loop_t *loop)
{
	int r = uv_mutex_init(&s->lock);

	if (r < 0)
		return r;
	r = uv_cond_init(&s->more);
	if (r < 0)
		goto no_cond;
	s->wakeup = calloc(1, sizeof(*s->wakeup));
	r = s->wakeup ? uv_async_init(loop, s->wakeup, on_wakeup) : UV_ENOMEM;
	if (r < 0)
		goto no_wakeup;
	s->wakeup->data = s;
	uv_unref((uv_handle_t *)s->wakeup);
	r = uv_thread_create(&s->writer, write_batches, s);
	if (r == 0)
		return 0;
	uv_close((uv_handle_t *)s->wakeup, free_handle);
	s->wakeup = NULL;
no_wakeup:
	free(s->wakeup);
	uv_cond_destroy(&s->more);
no_cond:
	uv_mutex_destroy(&s->lock);
	return r;
}

int lx_store_open(uv_loop_t *loop, const char *path, const struct lx_schema *schema, struct lx_store **ret,
		  struct lx_err *err)
{
	lx_autofree struct lx_store *s = calloc(1, sizeof(*s));

	if (!s)
		return lx_err_oom(err);
	STAILQ_INIT(&s->pending);
	STAILQ_INIT(&s->done);
	int r = lx_sqlite_engine.open(path, schema, &s->engine, err);

	if (r < 0)
		return r;
	r = start(s, loop);
	if (r < 0) {
		s->engine->ops->close(s->engine);
		return lx_err_errno(err, r, "cannot start the writer of store %s", path);
	}
	*ret = lx_move_ptr(s);
	return 0;
}

void lx_store_close(struct lx_store *s)
{
	if (!s)
		return;
	uv_mutex_lock(&s->lock);
	s->closing = true;
	uv_cond_signal(&s->more);
	uv_mutex_unlock(&s->lock);
	uv_thread_join(&s->writer);

	run_callbacks(s);
	uv_close((uv_handle_t *)s->wakeup, free_handle);
	s->engine->ops->close(s->engine);
	uv_cond_destroy(&s->more);
	uv_mutex_destroy(&s->lock);
	free(s);
}
