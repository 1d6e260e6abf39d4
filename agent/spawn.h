/*
 * Worker processes, from the agent's side: where their programs are, and how one is born
 * with nothing of ours but the end of a socket.
 */
#ifndef LX_AGENT_SPAWN_H
#define LX_AGENT_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/err.h"

enum lx_worker_kind { LX_WORKER_INSTANCE, LX_WORKER_IMAGE, LX_WORKER_MOVE, LX_WORKER_KINDS };

/* A worker, alive or not yet buried. */
struct lx_spawned {
	pid_t pid;
	int pidfd; /* readable when it has exited */
	int sock;  /* our end (agent/worker/proto.h) */
};

#define LX_SPAWNED_NONE ((struct lx_spawned){ .pid = 0, .pidfd = -1, .sock = -1 })

/*
 * The directory of the workers: $LXMGR_LIBEXEC, else ../libexec beside this program, else
 * where they were installed. malloc'ed. Fails when a worker program is missing.
 */
int lx_spawn_find(char **ret_dir, struct lx_err *err);

/*
 * Starts `dir`/<program of kind>: a session of its own, an empty environment but for PATH.
 * Its one argument tells people, and a later agent (orphans.h), whose it is.
 */
int lx_spawn_worker(const char *dir, enum lx_worker_kind kind, const char *state_dir, struct lx_spawned *ret,
		    struct lx_err *err);
/*
 * A zygote of instance workers (agent/worker/zygote.h), to be had like a worker and ended like
 * one; and a worker out of it. When the latter fails the zygote is of no use any more.
 */
int lx_spawn_zygote(const char *dir, const char *state_dir, struct lx_spawned *ret, struct lx_err *err);
int lx_spawn_from(const struct lx_spawned *zygote, struct lx_spawned *ret, struct lx_err *err);
/* Is this the name of a worker program? */
bool lx_spawn_is_worker(const char *program);

/* Signals the worker and what it has started. */
void lx_spawned_kill(const struct lx_spawned *w, int sig);

/* Collects an exited worker; "was killed by signal 9 (Killed)" or "exited with status 3" into text. */
#define LX_SPAWN_TEXT 96
void lx_spawned_reap(const struct lx_spawned *w, char text[LX_SPAWN_TEXT]);

/* Closes our descriptors. A worker that waits for its job then exits. */
void lx_spawned_release(struct lx_spawned *w);

/* Ends a worker that has no job, and collects it. None is fine. */
void lx_spawned_discard(struct lx_spawned *w);

#endif
