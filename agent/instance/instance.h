/*
 * An instance on this node: its specification, its state, the processes it runs as.
 *
 *                    create                        start
 *          (new) ------------> CREATING    STOPPED ------> STARTING
 *                                |  |         ^ ^             |  |
 *                                |  +---------+ +-------------+  |
 *                                |   created       failed        | it runs
 *                                |                               v
 *                                +--- created and started --> RUNNING <--------+
 *                                                             |  |  ^          |
 *                                      freeze +---------------+  |  | unfreeze |
 *                                             v                  |  |          |
 *                                         FREEZING ----> FROZEN -+--+          |
 *                                                          |     |             |
 *          stop, restart, init has exited                  +-----+             |
 *                                                                v             |
 *                         STOPPED <---- cleaned up ---------- STOPPING --------+
 *                                                                |  it rebooted, or would not stop
 *          DELETING: from anywhere at rest, ends with the instance's removal
 *          ERROR:    a step failed that must not; start, stop and delete may try again
 *
 * At most one task (task.h) works on an instance at a time; it alone moves the state. What
 * the instance does by itself (exit, reboot) is noticed by monitor.c, which starts a task of
 * its own as soon as none is at work.
 */
#ifndef LX_AGENT_INSTANCE_H
#define LX_AGENT_INSTANCE_H

#include <stdbool.h>
#include <sys/types.h>

#include "agent/agent.h"
#include "lib/str.h"
#include "lxmgr/v1/agent.pb-c.h"

enum lx_instance_state {
	LX_CREATING,
	LX_STOPPED,
	LX_STARTING,
	LX_RUNNING,
	LX_FREEZING,
	LX_FROZEN,
	LX_STOPPING,
	LX_DELETING,
	LX_ERROR,
	LX_INSTANCE_STATES
};

struct lx_task;
struct lx_verb;
struct lx_fdwatch;
struct lx_intercept_link;

struct lx_instance {
	struct lx_agent *agent;
	char name[LX_NAME_MAX + 1];
	Lxmgr__V1__InstanceSpec *spec; /* as on disk, or about to be */
	unsigned state;                /* enum lx_instance_state */
	char *reason;                  /* of the state, or NULL */

	struct lx_task *task; /* at work on it, or NULL */
	struct lx_task *next; /* waits behind a task of our own, or NULL */
	char *last_operation; /* that ended well: a repeated request is told so */
	const struct lx_verb *last_verb;

	/* monitor.c; 0 and -1 while it does not run. */
	pid_t monitor, init;
	int64_t started_at_ns; /* its guest's boot, wherever that was */
	int64_t here_since_ns; /* its init's start on this machine */
	int monitor_fd, init_fd;
	struct lx_fdwatch *on_monitor, *on_init;
	bool monitor_gone, init_gone;        /* not acted upon yet */
	bool wants_restart;                  /* the last init that has gone asked for it */
	struct lx_intercept_link *intercept; /* intercept.h; NULL: none of its system calls stop */

	/* What its cgroups had counted when they were last looked at (denial/cgroups.c). */
	struct lx_instance_seen {
		bool looked; /* since it was started */
		uint64_t kills, forks;
		bool full; /* of processes */
	} seen;

	/* cards.c: host ends of the cards it runs with, which a changed specification may not have any more.
	 */
	bool knows_cards; /* else: any of the specification's, held ones too */
	size_t n_cards;
	char **cards;

	bool lxcfs_lost; /* it has files of an lxcfs that has ended (agent/lxcfs.h) */

	bool has_usage;
	bool knows_limit; /* usage.memory_limit_bytes is good until the limits change */
	Lxmgr__V1__InstanceUsage usage;
};

/* instance.c */

/* Adds one to the agent. `spec` is copied. */
int lx_instance_add(struct lx_agent *a, const Lxmgr__V1__InstanceSpec *spec, enum lx_instance_state state,
		    struct lx_instance **ret, struct lx_err *err);
/* For the agent's map. */
void lx_instance_free(void *inst);
/* By name, and (unless 0) only if it is of that generation. NULL with err filled. */
struct lx_instance *lx_instance_find(struct lx_agent *a, const char *name, uint64_t generation,
				     struct lx_err *err);
int lx_instance_check_generation(const struct lx_instance *inst, uint64_t generation, struct lx_err *err);
/* NULL, or why nothing can be done inside: it does not run, it is frozen. */
int lx_instance_need_running(const struct lx_instance *inst, struct lx_err *err);

/* Moves the state, with a reason or NULL, and tells the watchers. */
void lx_instance_move(struct lx_instance *inst, enum lx_instance_state to, const char *reason);
const char *lx_instance_state_name(const struct lx_instance *inst);
bool lx_instance_is_up(const struct lx_instance *inst); /* RUNNING, FREEZING, FROZEN */

/* state/instances/<name>/<leaf>; malloc'ed, NULL when out of memory. */
char *lx_instance_path(const struct lx_instance *inst, const char *leaf);
bool lx_instance_on_disk(const struct lx_instance *inst);
/* The effective value of a configuration key. Borrowed until the specification changes. */
const char *lx_instance_config(const struct lx_instance *inst, const char *key);
/* Takes the specification over when the message is whole; keeps the old one otherwise. */
int lx_instance_set_spec(struct lx_instance *inst, const Lxmgr__V1__InstanceSpec *spec, struct lx_err *err);

/* What the manager is told; texts are borrowed from the instance. */
#define LX_LABEL_TEXT 512
struct lx_report {
	Lxmgr__V1__InstanceReport pb;
	Lxmgr__V1__InstanceUsage usage;
	char apparmor[LX_LABEL_TEXT];
};
void lx_instance_report(const struct lx_instance *inst, struct lx_report *ret);

/* load.c: reads what is on disk, looks at what runs, sweeps what is half-done. Runs the loop. */
int lx_instances_load(struct lx_agent *a, struct lx_err *err);

#endif
