/*
 * The audit log: one row for each call that changes something, let in or refused.
 *
 * A row of a call that is let in goes into the transaction that makes its change
 * (lx_audit_into), so that neither is on disk without the other; of a stream that leaves the
 * manager (exec, files) it is submitted before the first byte goes on (lx_audit_now). Whatever
 * has none when it ends, because it failed or was refused, gets it then. Calls that only read
 * write nothing.
 *
 * Kept are the newest LX_AUDIT_KEEP rows of calls that were let in and the newest
 * LX_AUDIT_KEEP_REFUSED of others, apart, so that refused calls cannot push real changes out;
 * the store refuses to change rows and to delete these (schema.c). Of one who is refused again
 * and again every second one is written, after a burst; it says how many were left out.
 */
#ifndef LX_LXMGR_AUTH_AUDIT_H
#define LX_LXMGR_AUTH_AUDIT_H

#include "lxmgr/manager.h"

#define LX_AUDIT_KEEP         100000
#define LX_AUDIT_KEEP_REFUSED 10000
#define LX_AUDIT_PRUNE_EVERY  256 /* rows written: how often those above are deleted */
#define LX_AUDIT_BURST        20  /* refused calls of one identity that are all written */
#define LX_AUDIT_REQUEST_MAX  1024

struct lx_auditor;

int lx_auditor_create(struct lx_manager *m, struct lx_auditor **ret, struct lx_err *err);
void lx_auditor_free(struct lx_auditor *a);
/* What a server is given to hear of calls; its argument is the manager. */
extern const struct lx_rpc_witness lx_audit_witness;

/* For streams, whose first message says what they are about; once. */
void lx_audit_message(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *first);
/* What it is about, when only its handler knows. */
void lx_audit_about(struct lx_call *call, const char *subject);
/*
 * A fact that the request itself need not show: it comes first in what was asked for, so that no length
 * of the rest hides it.
 */
#define LX_AUDIT_PRIVILEGED "PRIVILEGED"
void lx_audit_fact(struct lx_call *call, const char *fact);
/*
 * Adds the call's row to the transaction that makes its change. The first one takes it; later
 * ones of the same call get nothing. `call` and `txn` may be NULL.
 */
void lx_audit_into(struct lx_manager *m, struct lx_call *call, struct lx_txn *txn);
/* That transaction has failed: the row is written when the call ends. `call` may be NULL. */
void lx_audit_failed(struct lx_call *call);
/* Submits the row on its own. */
void lx_audit_now(struct lx_manager *m, struct lx_call *call);

/* describe.c: "name=web1 set_config={limits.memory=1GiB}", secrets as "***". malloc'ed, or NULL. */
char *lx_audit_describe(const ProtobufCMessage *msg);
/* What a request is about: its instance, image ... Borrowed; "" when it does not say. */
const char *lx_audit_subject(const ProtobufCMessage *msg);

#endif
