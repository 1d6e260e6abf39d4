#include "lxmgr/api/commit.h"

#include <stdlib.h>

#include "lib/cleanup.h"
#include "lxmgr/auth/audit.h"
#include "proto/pb.h"

struct commit {
	struct lx_manager *m;
	struct lx_call *call;
	lx_commit_cb done;
	void *data;
};

static void on_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct commit *)arg)->call = NULL;
}

static const struct lx_call_events call_events = { .closed = on_call_closed };

static void on_stored(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct commit *c = arg;
	if (c->call)
		lx_call_set_events(c->call, NULL, NULL);
	if (err->code != LX_OK)
		lx_audit_failed(c->call);
	c->done(c->m, c->call, err, c->data);
	lx_turn_release(c->m);
	free(c);
}

int lx_api_commit(struct lx_manager *m, struct lx_call *call, struct lx_txn *txn, lx_commit_cb done,
		  void *data, struct lx_err *err)
{
	struct commit *c = txn ? malloc(sizeof(*c)) : NULL;
	if (!c) {
		lx_txn_free(txn);
		return lx_err_oom(err);
	}
	*c = (struct commit){ m, call, done, data };
	lx_call_set_events(call, &call_events, c);
	lx_audit_into(m, call, txn);
	lx_turn_hold(m);
	int r = lx_store_submit(m->store, txn, on_stored, c, err);
	if (r < 0) {
		lx_turn_release(m);
		lx_call_set_events(call, NULL, NULL);
		lx_audit_failed(call);
		free(c);
	}
	return r;
}

void lx_api_answer(struct lx_call *call, const ProtobufCMessage *msg, const struct lx_err *err)
{
	if (!call)
		return;
	if (err->code == LX_OK)
		lx_call_reply(call, msg);
	else
		lx_call_fail(call, err);
}

struct lx_txn *lx_txn_named_spec(const char *sql, const char *name, const ProtobufCMessage *spec)
{
	size_t len;
	lx_autofree uint8_t *bytes = lx_pb_pack(spec, &len);
	struct lx_txn *txn = bytes ? lx_txn_new(NULL) : NULL;
	if (!txn)
		return NULL;
	lx_txn_exec(txn, sql);
	lx_txn_text(txn, name);
	lx_txn_blob(txn, bytes, len);
	return txn;
}
