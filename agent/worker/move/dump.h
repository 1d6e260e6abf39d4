/*
 * CRIU's dump of the running instance: a process that is held at its steps.
 *
 *   lx_dump_start    CRIU runs and waits before it touches the guest
 *   lx_dump_go       it begins to dump
 *   lx_dump_seized   returns when it has the guest in its hands; it goes on by itself
 *   lx_dump_wait     returns when all is in the images and the guest is still in its hands, frozen
 *                    and cut off
 *   then either
 *   lx_dump_end      it ends; its guest, which would only stop, has been killed, or
 *   lx_dump_back     it lets the guest go on; also when it had not come so far
 */
#ifndef LX_WORKER_MOVE_DUMP_H
#define LX_WORKER_MOVE_DUMP_H

#include "agent/worker/move/move.h"
#include "migration/criu.h"
#include "migration/hooks.h"

/* A file of the dump is complete, while others are still written: it may be sent. */
typedef int (*lx_dump_file_fn)(void *arg, const char *name, struct lx_err *err);

struct lx_dump {
	int hooks;
	int files; /* inotify: what CRIU closes */
	lx_dump_file_fn on_file;
	void *arg;
	struct lx_hook held; /* the step that waits for our word */
	pid_t pid;           /* 0: does not run */
	int pidfd;
	int pages;   /* our end of the connection on which a lazy dump offers its pages; -1: none */
	bool passes; /* CRIU has given up, at what passes by itself (lx_criu_explain()) */
	bool killed; /* CRIU has not ended by itself: casualties.h */
};

#define LX_DUMP_NONE                                                                                         \
	((struct lx_dump){ .hooks = -1, .files = -1, .held = { .fd = -1 }, .pidfd = -1, .pages = -1 })

/*
 * `lazy`: private memory is left out of the images; somebody else has it (memory.h). `v2_only`: the
 * destination sees to v1 cgroups, `mounts`: and to these (migration/criu.h).
 */
int lx_dump_start(struct lx_move *m, pid_t init, bool lazy, bool v2_only, const struct lx_criu_mounts *mounts,
		  struct lx_dump *d, struct lx_err *err);
void lx_dump_go(struct lx_move *m, struct lx_dump *d, lx_dump_file_fn on_file, void *arg);
int lx_dump_seized(struct lx_move *m, struct lx_dump *d, struct lx_err *err);
int lx_dump_wait(struct lx_move *m, struct lx_dump *d, struct lx_err *err);
void lx_dump_end(struct lx_dump *d);
void lx_dump_back(struct lx_dump *d);
/* Is the guest in its hands, as lx_dump_wait() has left it? Not so when CRIU was killed. */
bool lx_dump_is_held(const struct lx_dump *d);
/* The same, as an error that says what became of CRIU. */
int lx_dump_check(const struct lx_move *m, struct lx_dump *d, struct lx_err *err);
void lx_dump_release(struct lx_dump *d);

#endif
