/*
 * Operations: long work that is journalled when accepted and survives its client and
 * the manager.
 *
 *            accept            run               end
 *   (none) ---------> PENDING ------> RUNNING ----------> SUCCESS | FAILURE | CANCELLED
 *                        |               |  ^
 *                        |               +--+ node away: parked, run again when it is back
 *                        +---- cancel ----------> CANCELLED
 *
 * A kind (launch, start, delete ...) gives one function, `run`, that does the work from
 * wherever it was left: it is called when the operation was accepted, when the node it
 * waits for came back, and after a restart of the manager. It must therefore be
 * idempotent; the agents' calls are. It ends by calling lx_op_end() exactly once, or
 * lx_op_park() to be run again.
 */
#ifndef LX_LXMGR_OPERATION_H
#define LX_LXMGR_OPERATION_H

#include "lxmgr/manager.h"

#define LX_OP_KEEP_ENDED  1000u /* ended operations kept in memory, and at least in the store */
#define LX_OP_PRUNE_EVERY 100u  /* ends: how often the store is rid of more */
#define LX_OP_RETRIES     3u    /* how often one is run again after failures that may pass */
#define LX_OP_RETRY_MS    2000u /* the pause before each */

struct lx_op_kind {
	const char *name; /* "instance.launch" */
	/* Type of its journalled arguments (usually the request message). */
	const ProtobufCMessageDescriptor *args;
	void (*run)(struct lx_op *op);
	/* Called when a client asks to cancel a running one; NULL: cannot be cancelled once running. */
	void (*cancel)(struct lx_op *op);
	/* Its node has been away for too long (`why`): ends it, if that leaves more to say; or NULL. */
	void (*away)(struct lx_op *op, const struct lx_err *why);
	/* The journal knows an operation whose client was part of it (an upload): it cannot be
	 * resumed after a restart and fails then. */
	bool needs_client;
	/* Nodes have images because of it before the cluster knows them. */
	bool makes_images;
};

struct lx_op_watcher {
	TAILQ_ENTRY(lx_op_watcher) link;
	struct lx_op *op;
	/* Every change; the last one has an ended status. */
	void (*changed)(struct lx_op *op, void *arg);
	void *arg;
};

struct lx_op {
	struct lx_manager *m;
	const struct lx_op_kind *kind;
	Lxmgr__V1__Operation *pb;
	ProtobufCMessage *args; /* owned */
	struct lx_inst *inst;   /* that it has in hand, or NULL */
	struct lx_call *call;   /* to an agent, while one is under way */
	void *data;             /* the kind's own; freed with free() */
	uint64_t parked_ns;     /* 0: not parked; since when its node is waited for */
	unsigned retries;       /* how often lx_op_retry() has been used */
	bool parked;
	bool held;      /* waits until the instance's agent has its specification (tell.c) */
	bool accepted;  /* the journal has it */
	bool resumed;   /* it comes from the journal: an earlier manager may have begun it */
	bool ending;    /* lx_op_end was called, the journal is being written */
	bool cancelled; /* asked for */
	uv_timer_t *timer;
	TAILQ_HEAD(, lx_op_watcher) watchers;
};

/* Every kind, for resuming by name. */
extern const struct lx_op_kind lx_op_launch, lx_op_start, lx_op_stop, lx_op_restart, lx_op_freeze,
	lx_op_unfreeze, lx_op_delete, lx_op_image_build, lx_op_image_import, lx_op_image_delete,
	lx_op_image_fetch, lx_op_move, lx_op_evacuate, lx_op_restore, lx_op_snapshot_create,
	lx_op_snapshot_delete, lx_op_snapshot_rename, lx_op_snapshot_restore;

/*
 * Makes an operation; its request_id must be new or empty. `args` is copied. `project` is the
 * subject's; "": it is about the cluster itself.
 */
struct lx_op *lx_op_new(struct lx_manager *m, const struct lx_op_kind *kind, const char *project,
			const char *subject, const ProtobufCMessage *args, const char *request_id,
			const struct lx_peer *peer, struct lx_err *err);
/*
 * Adds the journal's INSERT to `txn` and submits it (taking txn over; NULL makes one). When it
 * is on disk: memory lists it, `accepted` runs (may be NULL), then the kind's run(). On failure
 * `accepted` gets the error, watchers see it fail without having been accepted, and the
 * operation is gone. The callback comes exactly once.
 */
typedef void (*lx_op_accepted)(struct lx_op *op, const struct lx_err *err, void *arg);
int lx_op_accept(struct lx_op *op, struct lx_txn *txn, lx_op_accepted cb, void *arg, struct lx_err *err);
/* For one that was never accepted. */
void lx_op_free(void *op);

/* Takes an instance in hand: one operation at a time. LX_FAILED_PRECONDITION names the other. */
int lx_op_claim(struct lx_op *op, struct lx_inst *inst, struct lx_err *err);

void lx_op_phase(struct lx_op *op, const char *phase);
void lx_op_progress(struct lx_op *op, const char *phase, uint64_t done, uint64_t total, const char *unit);
int lx_op_result(struct lx_op *op, const char *key, const char *value);
/*
 * Ends it: err NULL or LX_OK is success. What belongs to the end in the store goes in the same
 * transaction (`txn`, may be NULL; taken over). `done` (may be NULL) runs after the commit and
 * before watchers are told: the place to change memory accordingly.
 */
void lx_op_end(struct lx_op *op, const struct lx_err *err, struct lx_txn *txn,
	       void (*done)(struct lx_op *op));
/* The node is away: run() again when it is back, or end when that takes longer than --node-wait. */
void lx_op_park(struct lx_op *op, const char *node, const struct lx_err *why);
/* Something failed that may pass: run() again in a while. False when that was tried often enough. */
bool lx_op_retry(struct lx_op *op);
/* The agent has its specification now: runs what waited for that. */
void lx_op_go_on(struct lx_op *op);
/* A node is back: runs what waits for it. */
void lx_op_node_ready(struct lx_manager *m, struct lx_node *node);

bool lx_op_ended(const struct lx_op *op);
/*
 * One that has ended with outcome_open has succeeded, or has failed for that reason (`why`). To be
 * called when the store has it, with that time.
 */
void lx_op_settle(struct lx_op *op, bool succeeded, const struct lx_err *why, int64_t at_ns);
/* By id or unique prefix, among those that `sees` says yes to. */
struct lx_op *lx_op_find(struct lx_manager *m, const char *id,
			 bool (*sees)(const struct lx_op *op, void *arg), void *arg, struct lx_err *err);
void lx_op_watch(struct lx_op *op, struct lx_op_watcher *w);
void lx_op_unwatch(struct lx_op_watcher *w);
int lx_op_cancel(struct lx_op *op, struct lx_err *err);
/* A row of the journal at start. Ended ones are only remembered. */
int lx_op_load(struct lx_manager *m, const struct lx_sql_value *cols, struct lx_err *err);

/*
 * A call to the agent of the operation's instance (or of `node`): metadata, errors and
 * parking are handled here. `cb` gets the answer or the error that ends the operation;
 * it does not run when the operation was parked instead.
 */
typedef void (*lx_op_reply)(struct lx_op *op, const ProtobufCMessage *resp, const struct lx_err *err);
void lx_op_agent_call(struct lx_op *op, const char *node, const char *method, const ProtobufCMessage *req,
		      lx_op_reply cb);

/* ------------------------------------------------------------------ image_fetch.c */

/*
 * A step of an operation: the node shall have the image. It gets it from nodes that do, agent
 * to agent; progress is the operation's, in phase "fetch image". Then `next` runs, at once
 * when the image is there already: with code LX_OK, or the error that ends the operation.
 * LX_CANCELLED when lx_op_cancel_fetch() was called. `next` does not run when the operation
 * was parked instead, because the node or all that have the image are away; run() is called
 * when one is back, and does the step again.
 */
void lx_op_need_image(struct lx_op *op, struct lx_node *node, const char *fingerprint,
		      void (*next)(struct lx_op *op, const struct lx_err *err));
/* For a kind's cancel(), while that step is under way (and `cancellable` is set). */
void lx_op_cancel_fetch(struct lx_op *op);
/* Can the node get it now: is it there, or on another node that is online? */
bool lx_image_available(const struct lx_manager *m, const struct lx_node *node, const char *fingerprint);

#endif
