/*
 * Warnings (what a person should know) and denials (what was kept from instances).
 *
 *   warnings.c    the warnings there are: raised, raised again, resolved, dropped
 *   denials.c     what agents report: events, records, counters, warnings
 *   conditions.c  what is wrong with nodes and the cluster as long as it is
 *   expiry.c      how long certificates last
 *   save.c        into the store, a while after they changed, many together
 *
 * Both are in memory and answered from there. They are not part of any operation: when the
 * manager is killed what changed in the last LX_WARNINGS_SAVE_MS is lost, unlike what a person
 * has done to a warning, which is stored before it is answered.
 */
#ifndef LX_LXMGR_WARNINGS_H
#define LX_LXMGR_WARNINGS_H

#include "lxmgr/manager.h"
#include "lxmgr/v1/warning.pb-c.h"

#define LX_WARNINGS_MAX     10000u
#define LX_WARNINGS_SAVE_MS 2000u
/* Records kept of one instance; the one that was not seen for longest goes. */
#define LX_DENIALS_KEPT 128u

enum lx_severity { LX_SEVERITY_LOW = 1, LX_SEVERITY_MODERATE, LX_SEVERITY_HIGH };

/* ------------------------------------------------------------------ warnings.c */

struct lx_warning {
	Lxmgr__V1__Warning *pb;
	bool dirty; /* the store has it not, or another */
};

struct lx_warnings {
	struct lx_manager *m;
	struct lx_map by_id;  /* decimal -> struct lx_warning *, owned; in the order they were first raised */
	struct lx_map by_key; /* type, entity, name -> struct lx_warning *, borrowed */
	uint64_t last_id;
	uint64_t *dropped; /* ids that the store still has */
	size_t n_dropped, room_dropped;
	uv_timer_t save, look; /* save.c, conditions.c */
	unsigned looks;
};

struct lx_warning_of {
	const char *type;   /* "node-offline" */
	const char *entity; /* "instance", "node", "cluster" */
	const char *name;   /* an instance's key (project.h) */
	const char *node;   /* or NULL */
	enum lx_severity severity;
};

/* After the rest has been loaded; begins to look at conditions. */
int lx_warnings_open(struct lx_manager *m, struct lx_err *err);
/* Saves what has changed and stops looking: before the store closes. NULL inside is fine. */
void lx_warnings_close(struct lx_manager *m);
void lx_warnings_free(struct lx_manager *m);

/* It has happened, `count` times more; without memory it has not. */
void lx_warning_raise(struct lx_manager *m, const struct lx_warning_of *of, uint64_t count,
		      const char *message);
/* It holds, as it did at the last look: counted only when it did not. */
void lx_warning_hold(struct lx_manager *m, const struct lx_warning_of *of, const char *message);
/* It does not hold any more, if it did. */
void lx_warning_resolve(struct lx_manager *m, const struct lx_warning_of *of);
struct lx_warning *lx_warning_find(struct lx_manager *m, uint64_t id, struct lx_err *err);
/* From memory alone. */
void lx_warning_drop(struct lx_manager *m, struct lx_warning *w);
/* From memory, and soon from the store. */
void lx_warning_remove(struct lx_manager *m, struct lx_warning *w);
/* What they are about is gone: another of its name begins anew. */
void lx_warnings_remove_of(struct lx_manager *m, const char *entity, const char *name);
/* As loaded (taken over, also on failure). */
int lx_warning_add(struct lx_warnings *ws, Lxmgr__V1__Warning *pb, struct lx_warning **ret);

/* ------------------------------------------------------------------ denials.c */

/* What a node's agent reports. */
void lx_denials_report(struct lx_manager *m, const struct lx_node *node, const Lxmgr__V1__DenialReports *r);

/* ------------------------------------------------------------------ conditions.c, expiry.c */

void lx_conditions_look(struct lx_manager *m);
/* What the agent of its node says of a running instance: it has files of an lxcfs that has ended, or not. */
void lx_conditions_lxcfs(struct lx_manager *m, const struct lx_inst *inst, bool lost);
/* When the certificate ends, since the epoch in seconds; 0: not known. */
int64_t lx_certificate_end(const char *pem);

/* ------------------------------------------------------------------ save.c */

int lx_warnings_load(struct lx_manager *m, struct lx_err *err);
/* Something is dirty. */
void lx_warnings_save_soon(struct lx_manager *m);
/* Submits what is, as far as one transaction goes; whether more is left. */
bool lx_warnings_save(struct lx_manager *m);
/* One warning, into a transaction. 0 or -ENOMEM. */
int lx_warning_txn(struct lx_txn *txn, const Lxmgr__V1__Warning *pb);

#endif
