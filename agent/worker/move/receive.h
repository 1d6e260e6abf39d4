/* The destination's state, shared by the files of the destination. */
#ifndef LX_WORKER_MOVE_RECEIVE_H
#define LX_WORKER_MOVE_RECEIVE_H

#include "agent/worker/move/copies.h"
#include "agent/worker/move/instance_job.h"
#include "agent/worker/move/lazy.h"
#include "agent/worker/move/move.h"
#include "migration/hooks.h"
#include "migration/traffic.h"
#include "migration/tree.h"
#include "migration/voice.h"
#include "migration/warm_locks.h"

/* A snapshot that comes now (snapshots.c). */
struct lx_receive_snapshot {
	struct lx_tree_receiver *tree; /* NULL: none does */
	Lxmgr__V1__SnapshotRecord *rec;
	int dir;
	unsigned n; /* begun */
};

struct lx_receive {
	struct lx_move m;
	Lxmgr__V1__MoveMode mode;
	const lx_spec *spec; /* what it will be here; the record's */
	int upper;
	struct lx_tree_receiver *tree;
	struct lx_receive_snapshot snapshot;
	Lxmgr__V1__GuestState *guest;  /* live */
	Lxmgr__V1__GuestNetwork fresh; /* what a new network namespace is like here */
	int dump_dir, dump_file;       /* -1: none open */
	uint32_t dump_files;           /* also of dumps that do not count any more */
	bool dump_ended;
	struct lx_copies copies; /* of memory that processes share */
	struct lx_lazy lazy;
	bool late;                   /* post-copy: memory may be missing, and the source sends it */
	Lxmgr__V1__MoveCommit *word; /* the source's, with what it has held; NULL: it came another way */
	struct lx_traffic traffic;   /* what comes for it here before its cards are plugged in */
	struct lx_voice voice;       /* when it is heard again */

	/* restore.c */
	int hooks;
	struct lx_hook held;
	struct lx_instance_job restore;
	pid_t init;
	struct lx_warm cgroups;      /* from the freeze on */
	uint64_t committed_ns;       /* monotonic */
	int64_t thawed_ns;           /* from then to the thaw */
	int64_t thawed_at_ns;        /* since the epoch; 0: it was not, or by another worker */
	int64_t exposed_ns;          /* from then until all memory was here; post-copy */
	char booted[LX_ERR_MSG_MAX]; /* why it was booted from its files; empty: it was not */
};

/* The directory of the dump, made where it is not there yet (`again`: it may be). Of live moves alone. */
int lx_receive_open_dump(struct lx_receive *rx, bool again, struct lx_err *err);
/*
 * After COMMIT (receive_own.c): the instance exists on this node from here on, whatever happens. `again`:
 * by a worker before this one. `result` is about what runs then.
 */
int lx_receive_own(struct lx_receive *rx, bool again, Lxmgr__V1__WorkerResult *result, struct lx_err *err);

/* It has just been thawed, or started. */
void lx_receive_thawed(struct lx_receive *rx);

/* Ahead of the freeze: liblxc is called, and waits for CRIU. */
int lx_restore_prepare(struct lx_receive *rx, struct lx_err *err);
/* The guest is frozen: what can be done to have it run soon. */
void lx_restore_hurry(struct lx_receive *rx);
/* Files and dump are here: up to the last step before it would run; held there. */
int lx_restore_begin(struct lx_receive *rx, struct lx_err *err);
/*
 * The restore is about to be complete: READY in the journal, if it was not there. The source is told
 * when it is; should that not come about, its word decides as ever.
 */
int lx_receive_is_ready(struct lx_receive *rx, struct lx_err *err);
/* After COMMIT, while it is being written down: CRIU begins with its last part, which ends frozen. */
void lx_restore_let_go(struct lx_receive *rx);
/* It runs: network, thaw, monitor. */
int lx_restore_finish(struct lx_receive *rx, struct lx_err *err);
/* Before it runs: what its services tell a manager that does not know them any more is lost. */
void lx_restore_reload_managers(const struct lx_receive *rx);
/* It has just begun to run: sets up anew what a restore loses, and tells the agent, which need not
 * wait for the last of the memory to know. */
void lx_restore_settle(const struct lx_receive *rx);
/* Nothing of it is left, but for the images. */
void lx_restore_undo(struct lx_receive *rx);
/* While it is held: readable when CRIU gives up. */
int lx_restore_fd(const struct lx_receive *rx);

/* Frames of snapshots: what one is; all others up to its tree_end. */
int lx_take_snapshot(struct lx_receive *rx, const Lxmgr__V1__SnapshotRecord *rec, struct lx_err *err);
int lx_take_snapshot_frame(struct lx_receive *rx, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err);
void lx_take_snapshot_release(struct lx_receive_snapshot *in);

/* Frames of the dump, as they come (receive_dump.c). */
int lx_dump_take_file(struct lx_receive *rx, const Lxmgr__V1__DumpFile *f, struct lx_err *err);
int lx_dump_take_data(struct lx_receive *rx, const Lxmgr__V1__DumpData *d, struct lx_err *err);
int lx_dump_take_again(struct lx_receive *rx, struct lx_err *err);
int lx_dump_take_end(struct lx_receive *rx, const Lxmgr__V1__DumpEnd *end, struct lx_err *err);
/* All is there (adapt.c): what of it cannot be restored as it is is changed, before CRIU reads it. */
int lx_dump_adapt(const struct lx_receive *rx, struct lx_err *err);

/*
 * Post-copy (receive_late.c). While rx->late: a frame that has come, the next one, what the keeper
 * waits for, and all there will be, whether CRIU has restored the guest or not. Without the source the
 * rest is lost: negative.
 */
int lx_late_take(struct lx_receive *rx, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err);
int lx_late_hear(struct lx_receive *rx, struct lx_err *err);
int lx_late_want(struct lx_receive *rx, struct lx_err *err);
int lx_late_take_all(struct lx_receive *rx, struct lx_err *err);

/* What the guest was like, kept beside the images for a restore that has to be done again. */
int lx_guest_keep(const struct lx_receive *rx, struct lx_err *err);
int lx_guest_find(struct lx_receive *rx, struct lx_err *err);

#endif
