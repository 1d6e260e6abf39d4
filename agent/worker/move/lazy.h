/*
 * A guest that runs before all its memory is in place: its pages are in this node's memory
 * already, as images, but to copy a large heap out of them takes longer than a guest may stand
 * still. CRIU registers such memory with userfaultfd(2), and a keeper (lazy_keeper.c) gives each
 * page when it is first touched, and all others meanwhile.
 *
 * The source is not needed for any of this, but with post-copy: then some pages come from it
 * meanwhile, and the worker tells the keeper over a socket of theirs (struct lx_lazy_word).
 *
 *   lx_lazy_start    before the freeze: the keeper listens for CRIU's restore
 *   lx_lazy_go       the dump is complete: CRIU may make userfaultfds
 *   lx_lazy_restored CRIU has registered all
 *   lx_lazy_wait     the guest runs; returns when all its memory is in place
 *
 * A keeper that ends before its time must not leave a guest that finds zeros where its memory
 * was. Its descriptors are held here as well, so that the guest waits at such a page instead;
 * and a worker that takes over a move finds no LX_LAZY_DONE, the keeper's last act. Either way
 * the guest is ended. A keeper whose worker has gone while memory was missing (post-copy) says
 * LX_LAZY_WHY and stays, for the same reason, until it is ended after the guest.
 */
#ifndef LX_WORKER_MOVE_LAZY_H
#define LX_WORKER_MOVE_LAZY_H

#include <stdbool.h>
#include <sys/types.h>

#include "agent/worker/move/move.h"

#define LX_LAZY_FDS_MAX 4096

/* Names in the move's directory. */
#define LX_LAZY_PID  "keeper.pid"  /* the keeper's number: there is memory to keep */
#define LX_LAZY_DONE "keeper.done" /* it has done its work */
#define LX_LAZY_WHY  "keeper.why"  /* why it could not */
/* In that of the images; the name is CRIU's. */
#define LX_LAZY_SOCKET "lazy-pages.socket"

/* The keeper's name, and its part of main(): lx-memory-keeper <move's directory>, the socket as
 * LX_LAZY_KEEPER_FD. */
#define LX_LAZY_KEEPER    "lx-memory-keeper"
#define LX_LAZY_KEEPER_FD 3
#define LX_LAZY_WORKER_FD 4
int lx_lazy_keeper(int argc, char **argv);

/* One packet of the worker's and the keeper's socket. */
struct lx_lazy_word {
	enum {
		LX_LAZY_CAME,   /* by the worker: these pages of an image are there */
		LX_LAZY_WANTED, /* by the keeper: somebody waits for the one at `start` */
		LX_LAZY_THAWED, /* by the worker: the guest runs, now what nobody waits for as well */
	} what;
	uint32_t pages_id;
	uint64_t start, end;
};

struct lx_lazy {
	bool on;
	pid_t pid;  /* of the keeper, our child; 0: none */
	int keeper; /* socket to it; -1: none */
	int fds[LX_LAZY_FDS_MAX];
	unsigned n;     /* userfaultfds held */
	int permission; /* lx_lazy_allow()'s, while CRIU needs it; -1 */
};

#define LX_LAZY_NONE ((struct lx_lazy){ .keeper = -1, .permission = -1 })

/*
 * CRIU has the guest's own processes make their userfaultfds, and these have no privilege on
 * this machine: the kernel allows it to all or to none (sysctl vm.unprivileged_userfaultfd). So
 * it is allowed for the moment of a restore, and where the administrator allows it always it
 * stays so. Whoever is at it holds a shared lock on the file, and the last one takes it back; a
 * note in the move's directory lets the keeper do that for a worker that was killed.
 */
bool lx_lazy_may_allow(void);
/* A descriptor to hold, or -1: it was allowed, or cannot be. */
int lx_lazy_allow(const char *move);
/* Takes the descriptor; -1: of a worker that is no more. */
void lx_lazy_forbid(const char *move, int permission);

/* Whether this kernel has what it takes. */
bool lx_lazy_possible(void);

int lx_lazy_start(const struct lx_move *m, struct lx_lazy *lazy, struct lx_err *err);
void lx_lazy_go(const struct lx_move *m, struct lx_lazy *lazy);
int lx_lazy_restored(const struct lx_move *m, struct lx_lazy *lazy, struct lx_err *err);
int lx_lazy_wait(struct lx_move *m, struct lx_lazy *lazy, struct lx_err *err);
/* True while it is on and the keeper has failed, with `err` set. */
bool lx_lazy_failed(const struct lx_move *m, const struct lx_lazy *lazy, struct lx_err *err);
/* Post-copy. The keeper may be gone: lx_lazy_failed() says so. */
void lx_lazy_came(const struct lx_lazy *lazy, uint32_t pages_id, uint64_t start, uint64_t end);
/* It has closed its end: whether it has done its work lx_lazy_failed() says a moment later. */
void lx_lazy_hang_up(struct lx_lazy *lazy);
/* The guest runs: until then only what is touched is put in place. */
void lx_lazy_thawed(const struct lx_lazy *lazy);
/* At any time: the keeper is ended, unless it has done its work. */
void lx_lazy_end(const struct lx_move *m, struct lx_lazy *lazy);
/* A dump with rounds of memory is in the directory: of a worker before this one. */
bool lx_lazy_wanted(const struct lx_move *m);

/*
 * For a worker that takes over a guest that runs: 0 when all its memory has come, or it had
 * none to come; waits for a keeper that is at work. Negative: the guest must not go on.
 */
int lx_lazy_resume(const struct lx_move *m, struct lx_err *err);

#endif
