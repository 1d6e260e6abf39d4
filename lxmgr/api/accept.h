/* How a call that starts an operation is answered: with the operation, once it is journalled. */
#ifndef LX_LXMGR_API_ACCEPT_H
#define LX_LXMGR_API_ACCEPT_H

#include "lxmgr/manager.h"

#define LX_REQUEST_ID_MAX 128u /* bytes */

struct lx_op;
struct lx_op_kind;

/*
 * Is it a request that was made before? Then true: the call is answered with the operation of
 * that time (when that one is on disk), or refused because its id stands for something else.
 * `subject` "": any.
 */
bool lx_api_repeated(struct lx_manager *m, struct lx_call *call, const char *request_id,
		     const struct lx_op_kind *kind, const char *subject);

/* Accepts an operation and answers the call with it as soon as it is journalled. Takes op and
 * txn over. On failure the call is the caller's to answer. */
int lx_api_accept(struct lx_call *call, struct lx_op *op, struct lx_txn *txn, struct lx_err *err);

#endif
