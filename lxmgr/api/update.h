/* Changing what an instance is: checks and the way to its agent. */
#ifndef LX_LXMGR_API_UPDATE_H
#define LX_LXMGR_API_UPDATE_H

#include "lxmgr/manager.h"

/* Config and devices as they come in a request (map fields): count, keys, values, the project's networks. */
int lx_api_check_config(size_t n, const void *entries, struct lx_err *err);
int lx_api_check_devices(struct lx_manager *m, const char *project, size_t n, const void *entries,
			 struct lx_err *err);
/* What an expanded instance must have (a root disk), and may not have too much of. */
int lx_api_check_expanded(const Lxmgr__V1__Instance *pb, struct lx_err *err);

/*
 * May an instance that is there become this? Its files belong to the ids it was made with, so whether
 * it is privileged stays. Both expanded.
 */
int lx_api_check_change(const Lxmgr__V1__Instance *before, const Lxmgr__V1__Instance *after,
			struct lx_err *err);
bool lx_api_is_privileged(const Lxmgr__V1__Instance *pb);

/*
 * Expands the instance again (its profiles or its own configuration changed), stores it and
 * gives its agent the new specification. `cb` gets the keys that act only after a restart.
 * inst is NULL when it was deleted meanwhile. 0, or negative errno (cb never runs).
 */
/*
 * `changed` is what it is to be (taken over, also on failure); NULL: as it is, its profiles
 * changed. `call` is the one that asked for it, for the audit log, or NULL.
 */
int lx_inst_reapply(struct lx_manager *m, struct lx_call *call, struct lx_inst *inst,
		    Lxmgr__V1__Instance *changed, lx_tell_cb cb, void *arg, struct lx_err *err);

/* The same for the operation that has it in hand, which tells its agent: `cb` comes before that. */
int lx_inst_reapply_in_operation(struct lx_manager *m, struct lx_inst *inst, Lxmgr__V1__Instance *changed,
				 lx_tell_cb cb, void *arg, struct lx_err *err);

/* The rows of `leases` for an instance, into a transaction. */
void lx_txn_leases(struct lx_txn *txn, const Lxmgr__V1__Instance *pb);

#endif
