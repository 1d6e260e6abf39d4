/* The source's state, shared by the files of the source. */
#ifndef LX_WORKER_MOVE_SEND_H
#define LX_WORKER_MOVE_SEND_H

#include "agent/worker/instance/own_tree.h"
#include "agent/worker/move/dump.h"
#include "agent/worker/move/memory.h"
#include "lib/map.h"
#include "migration/casualties.h"
#include "migration/traffic.h"
#include "migration/tree.h"
#include "migration/warm_locks.h"

#define LX_DUMP_STAMP 64

struct lx_send {
	struct lx_move m;
	Lxmgr__V1__MoveMode mode;
	lx_spec *spec;
	struct lx_run run;
	bool runs;
	struct lx_tree_source source;
	struct lx_tree_sender *tree;

	/* send_live.c */
	struct lx_dump dump;
	struct {
		bool memory_ahead, memory_after, v1_cgroups, lxcfs, snapshots, files_ahead, policy,
			dump_again; /* MoveWelcome */
	} other;                    /* what the destination can do */
	struct lx_memory memory;
	struct lx_traffic traffic; /* for the guest, while it stands */
	struct lx_warm file_locks; /* those that CRIU reads */
	struct lx_roll roll;       /* the guest's processes when CRIU began */
	bool dir;                  /* the directory in memory is there */
	bool frozen;               /* by us: frozen, or cut off, or about to be */
	bool held;                 /* lx_move_hold() */
	bool unread_stays;         /* nobody reads what CRIU cannot dump */
	bool committed;
	uint64_t dump_bytes;
	uint32_t dump_files;
	struct lx_map dump_sent;                    /* name -> size and time of what was sent, malloc'ed */
	uint64_t began_ns, frozen_ns, committed_ns; /* monotonic; 0: not */
};

/*
 * The next frame of that kind; what the destination waits for of memory that is left for after the
 * commit is sent meanwhile (memory.h).
 */
int lx_send_expect(struct lx_send *s, Lxmgr__V1__MoveFrame__WhatCase what, Lxmgr__V1__MoveFrame **ret,
		   struct lx_err *err);
/* One pass over the instance's own files. */
int lx_send_files(struct lx_send *s, bool last, struct lx_err *err);

/* CRIU's images (send_dump.c): one that is complete goes ahead of the others (`arg`: struct lx_send); the
 * rest. */
int lx_send_dump_ahead(void *arg, const char *name, struct lx_err *err);
int lx_send_dump(struct lx_send *s, struct lx_err *err);

/* Before the files: whether memory is copied ahead; `can`: the destination takes it. */
int lx_send_live_plan(struct lx_send *s, struct lx_err *err);
/* From the freeze to the destination's "ready". */
int lx_send_live(struct lx_send *s, struct lx_err *err);
/*
 * Before COMMIT (send_after.c): the guest runs on, for good, and `why` is told what it has lost; or for a
 * moment, after a dump that failed at what passes (lx_dump.passes), with the cause in `err`, and may be
 * dumped once more.
 */
void lx_send_live_back(struct lx_send *s, struct lx_err *why);
int lx_send_live_again(struct lx_send *s, struct lx_err *err);
/* After it, with post-copy: what is left of its memory. */
void lx_send_live_after(struct lx_send *s);
/* Then nothing of the guest runs here. */
void lx_send_live_end(struct lx_send *s);

/* snapshots.c: before anything else. FAILED_PRECONDITION when there are any and the destination takes none.
 */
int lx_send_snapshots(struct lx_send *s, struct lx_err *err);

#endif
