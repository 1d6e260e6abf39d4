/* Answering calls with operations; see accept.h. */
#include "lxmgr/api/accept.h"

#include <stdlib.h>
#include <string.h>

#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/auth/audit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/operations/operation.h"

/* ------------------------------------------------------------------ the first time */

/* The client waits for the journal only; `call` goes NULL when it does not wait any more. */
struct reply {
	struct lx_call *call;
};

static void reply_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct reply *)arg)->call = NULL;
}

static const struct lx_call_events reply_events = { .closed = reply_call_closed };

static void on_accepted(struct lx_op *op, const struct lx_err *err, void *arg)
{
	struct reply *r = arg;
	if (r->call)
		lx_call_set_events(r->call, NULL, NULL);
	if (err->code != LX_OK)
		lx_audit_failed(r->call);
	lx_api_answer(r->call, &op->pb->base, err);
	free(r);
}

int lx_api_accept(struct lx_call *call, struct lx_op *op, struct lx_txn *txn, struct lx_err *err)
{
	struct reply *p = malloc(sizeof(*p));
	if (!txn)
		txn = lx_txn_new(op->pb->id);
	if (!p || !txn) {
		free(p);
		lx_txn_free(txn);
		lx_op_free(op);
		return lx_err_oom(err);
	}
	p->call = call;
	lx_call_set_events(call, &reply_events, p);
	lx_audit_into(op->m, call, txn);
	int r = lx_op_accept(op, txn, on_accepted, p, err);
	if (r < 0) {
		lx_call_set_events(call, NULL, NULL);
		lx_audit_failed(call);
		free(p);
	}
	return r;
}

/* ------------------------------------------------------------------ and again */

/* Waits with the first one for the journal. */
struct again {
	struct lx_op_watcher w;
	struct lx_call *call;
};

static void answer(struct lx_call *call, const struct lx_op *op)
{
	struct lx_err err = LX_ERR_INIT;

	if (!op->accepted) {
		lx_err_set(&err, (enum lx_code)op->pb->error_code, "%s", op->pb->error);
		lx_err_hint(&err, "%s", op->pb->hint);
	}
	lx_api_answer(call, &op->pb->base, &err);
}

/* It is journalled, or has failed to be. */
static void on_known(struct lx_op *op, void *arg)
{
	struct again *a = arg;

	lx_op_unwatch(&a->w);
	lx_call_set_events(a->call, NULL, NULL);
	answer(a->call, op);
	free(a);
}

static void again_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct again *a = arg;

	lx_op_unwatch(&a->w);
	free(a);
}

static const struct lx_call_events again_events = { .closed = again_call_closed };

bool lx_api_repeated(struct lx_manager *m, struct lx_call *call, const char *request_id,
		     const struct lx_op_kind *kind, const char *subject)
{
	if (lx_str_empty(request_id))
		return false;
	if (strlen(request_id) > LX_REQUEST_ID_MAX) {
		lx_call_failf(call, LX_INVALID_ARGUMENT, "the request id is longer than %u bytes",
			      LX_REQUEST_ID_MAX);
		return true;
	}
	struct lx_op *op = lx_map_get(&m->ops_by_request, request_id);
	if (!op)
		return false;
	bool elsewhere = !lx_str_empty(op->pb->project) && !lx_streq(op->pb->project, lx_call_project(call));
	if (elsewhere || !lx_streq(op->pb->kind, kind->name) ||
	    (!lx_str_empty(subject) && !lx_streq(op->pb->subject, subject))) {
		struct lx_err err = LX_ERR_INIT;
		if (elsewhere) /* nothing is said of other projects */
			lx_err_set(&err, LX_ALREADY_EXISTS, "request id %s stands for another request",
				   request_id);
		else
			lx_err_set(&err, LX_ALREADY_EXISTS,
				   "request id %s stands for another request: %s of %s", request_id,
				   op->pb->kind, op->pb->subject);
		lx_err_hint(&err, "Use a new id for every request, and an old one only to repeat it.");
		lx_call_fail(call, &err);
		return true;
	}
	if (op->accepted) {
		answer(call, op);
		return true;
	}
	struct again *a = calloc(1, sizeof(*a));
	if (!a) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return true;
	}
	a->call = call;
	a->w.changed = on_known;
	a->w.arg = a;
	lx_op_watch(op, &a->w);
	lx_call_set_events(call, &again_events, a);
	return true;
}
