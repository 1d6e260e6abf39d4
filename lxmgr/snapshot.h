/*
 * Snapshots of an instance, as the manager knows them: a row each in the store, whose spec is the message
 * without the names of its instance and project, and in memory with the instance. The files are on the
 * instance's node and move along with it.
 */
#ifndef LX_LXMGR_SNAPSHOT_H
#define LX_LXMGR_SNAPSHOT_H

#include "lxmgr/manager.h"
#include "lxmgr/v1/snapshot.pb-c.h"

#define LX_SNAPSHOT_DESCRIPTION_MAX 1024u /* bytes */

/* Memory only; takes pb over, also on failure. 0 or -ENOMEM. */
int lx_snapshot_put(struct lx_manager *m, struct lx_inst *inst, Lxmgr__V1__Snapshot *pb);
void lx_snapshot_remove(struct lx_manager *m, struct lx_inst *inst, const char *name);
/* NOT_FOUND with what to look at. */
Lxmgr__V1__Snapshot *lx_snapshot_find(const struct lx_inst *inst, const char *name, struct lx_err *err);

/* Is it a name, is it free, and may the instance have one more? */
int lx_snapshot_check_new(const struct lx_inst *inst, const char *name, struct lx_err *err);
/* The first free one of snap0, snap1 ... */
void lx_snapshot_pick_name(const struct lx_inst *inst, char ret[LX_NAME_MAX + 1]);

/*
 * One that is being made counts against its project's quota as what the instance takes now, or may.
 * Until lx_snapshot_count(), which sets what there is.
 */
int lx_snapshot_reserve(struct lx_manager *m, struct lx_inst *inst, struct lx_err *err);
void lx_snapshot_count(struct lx_manager *m, struct lx_inst *inst);

/* The row, into a transaction. 0 or -ENOMEM. */
int lx_snapshot_insert(struct lx_txn *txn, const struct lx_inst *inst, const Lxmgr__V1__Snapshot *pb);
void lx_snapshot_delete(struct lx_txn *txn, const struct lx_inst *inst, const char *name);

/*
 * What the instance would be with the snapshot's configuration: expanded and checked, malloc'ed. NULL with
 * err filled: it cannot be that any more, a profile is gone or its project allows it no longer.
 */
Lxmgr__V1__Instance *lx_snapshot_applied(struct lx_manager *m, const struct lx_inst *inst,
					 const Lxmgr__V1__Snapshot *snapshot, struct lx_err *err);

#endif
