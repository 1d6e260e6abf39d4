/*
 * Memory that is copied while the guest runs, so that little is left for when it stands still.
 *
 *   lx_memory_plan    looks whether it is worth it
 *   lx_memory_ahead   rounds: all of it, then what has been written meanwhile, until that is
 *                     little or does not get less
 *   -- freeze --
 *   lx_memory_stand   what has been written since the last round
 *   -- CRIU dumps, without the memory itself --
 *   lx_memory_back    if it could not: the guest goes on, from lx_memory_ahead()
 *   lx_memory_rest    one more round: that, and what was not watched; and CRIU's own lists of
 *                     pages, which from then on refer to what was sent
 *   -- commit --
 *   lx_memory_after   post-copy: what of that was left for now, where it is much
 *
 * A process's pages go into one file at the destination, at their addresses, each round over
 * what the one before has put there. CRIU takes it as an image of a dump before this one
 * (receive_dump.c, migration/page_image.h).
 */
#ifndef LX_WORKER_MOVE_MEMORY_H
#define LX_WORKER_MOVE_MEMORY_H

#include <pthread.h>

#include "agent/worker/move/move.h"
#include "migration/content_track.h"
#include "migration/memory_choice.h"
#include "migration/page_runs.h"
#include "migration/segments.h"
#include "migration/write_track.h"

/* One process whose memory is worth it. */
struct lx_memory_process {
	pid_t pid, inside;
	uint32_t pages_id;           /* of its file */
	struct lx_write_track track; /* one of these, as lx_memory.how says */
	struct lx_content_track content;
	struct lx_page_runs sent;   /* by any round */
	struct lx_page_runs clean;  /* of that, what is still so: lx_memory_stand() */
	struct lx_page_runs hidden; /* of that, what CRIU is not shown */
	struct lx_page_runs late;   /* post-copy: left for after the commit */
};

struct lx_memory {
	struct lx_move *m;
	bool on;                        /* memory is copied ahead, or after */
	bool after;                     /* post-copy */
	Lxmgr__V1__MoveMemory how;      /* ahead */
	char why[LX_MEMORY_REASON_MAX]; /* so */
	struct lx_memory_process *p;
	size_t n;
	pid_t init;
	bool files_ahead; /* the destination takes files in tmpfs ahead */
	struct lx_segments shared;
	struct lx_page_runs *clean; /* of each of them, what is still as it was sent: lx_memory_stand() */
	struct {
		pthread_t thread; /* that looks for it */
		bool on;
		int lock; /* CRIU waits for it, in the end */
	} comparing;
	uint32_t rounds;
	uint32_t files;      /* frames that began one */
	uint64_t bytes;      /* of pages */
	uint64_t late_bytes; /* of them, by lx_memory_after() */
};

/* As `spec` (migration.memory) wants it, and the kernel can. */
int lx_memory_plan(struct lx_move *m, const lx_spec *spec, pid_t init, bool files_ahead, bool postcopy,
		   struct lx_memory *ret, struct lx_err *err);
int lx_memory_ahead(struct lx_memory *mem, struct lx_err *err);
int lx_memory_stand(struct lx_memory *mem, struct lx_err *err);
/* It does not stand any more, and there was no lx_memory_rest(): more rounds may follow. */
void lx_memory_back(struct lx_memory *mem);

/* Whether this file of the dump is for lx_memory_rest() to send. */
bool lx_memory_is_list(struct lx_memory *mem, const char *name);
/* All of them, out of the directory of the dump. */
int lx_memory_rest(struct lx_memory *mem, int dir, struct lx_err *err);

/* Before that: CRIU's restore, too, touches some pages. */
int lx_memory_wanted(struct lx_memory *mem, const Lxmgr__V1__MemoryWanted *w, struct lx_err *err);
/*
 * What is missing at the destination, and first what it asks for; the guest stands still here until
 * it has all been sent. A failure is final: what runs there has lost memory.
 */
int lx_memory_after(struct lx_memory *mem, struct lx_err *err);

void lx_memory_release(struct lx_memory *mem);

#endif
