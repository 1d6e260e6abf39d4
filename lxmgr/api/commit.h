/* The usual end of a changing call: write it down, then change memory, then answer. */
#ifndef LX_LXMGR_API_COMMIT_H
#define LX_LXMGR_API_COMMIT_H

#include "lxmgr/manager.h"

/*
 * Runs once when the transaction is on disk (err->code LX_OK) or has failed. `call` is NULL
 * when the client went away meanwhile; lx_api_answer() copes with that.
 * `data` is the callback's to free.
 */
typedef void (*lx_commit_cb)(struct lx_manager *m, struct lx_call *call, const struct lx_err *err,
			     void *data);

/* Submits txn (taken over), with the call's row of the audit log in it. 0, or negative errno with err filled:
 * then `done` never runs. */
int lx_api_commit(struct lx_manager *m, struct lx_call *call, struct lx_txn *txn, lx_commit_cb done,
		  void *data, struct lx_err *err);

/* Answers if the client is still there: with msg when err is LX_OK, else with the error. */
void lx_api_answer(struct lx_call *call, const ProtobufCMessage *msg, const struct lx_err *err);

/* A transaction of one statement `sql` with ?1 = name, ?2 = the packed message. NULL: no memory. */
struct lx_txn *lx_txn_named_spec(const char *sql, const char *name, const ProtobufCMessage *spec);

#endif
