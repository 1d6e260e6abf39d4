/* The source's state, shared by the files of the source. */
#ifndef LX_WORKER_MOVE_SEND_H
#define LX_WORKER_MOVE_SEND_H

#include "agent/worker/move/dump.h"
#include "agent/worker/move/memory.h"
#include "lib/map.h"
#include "migration/traffic.h"
#include "migration/tree.h"

#define LX_DUMP_STAMP 64

struct lx_send {
	struct lx_move m;
	Lxmgr__V1__MoveMode mode;
	lx_spec *spec;
	struct lx_run run;
	bool runs;
	int upper, lower, index;
	struct lx_tree_sender *tree;

	/* send_live.c */
	struct lx_dump dump;
	struct {
		bool memory_ahead, v1_cgroups; /* MoveWelcome */
	} other;                               /* what the destination can do */
	struct lx_memory memory;
	struct lx_traffic traffic; /* for the guest, while it stands */
	bool dir;                  /* the directory in memory is there */
	bool frozen;               /* by us: frozen, or cut off, or about to be */
	bool committed;
	uint64_t dump_bytes;
	uint32_t dump_files;
	struct lx_map dump_sent;          /* name -> size and time of what was sent, malloc'ed */
	uint64_t frozen_ns, committed_ns; /* monotonic; 0: not */
};

/* One pass over the instance's own files. */
int lx_send_files(struct lx_send *s, bool last, struct lx_err *err);

/* Before the files: whether memory is copied ahead; `can`: the destination takes it. */
int lx_send_live_plan(struct lx_send *s, struct lx_err *err);
/* From the freeze to the destination's "ready". */
int lx_send_live(struct lx_send *s, struct lx_err *err);
/* Before COMMIT: the guest runs on. */
void lx_send_live_back(struct lx_send *s);
/* After it: nothing of the guest runs here. */
void lx_send_live_end(struct lx_send *s);

#endif
