/*
 * A task: one verb at work on one instance, for any number of calls that wait for it.
 *
 *   a call comes     its verb's `begin` decides: refuse, nothing to do, or on its way
 *   steps            jobs, each with the function that goes on from its end
 *   lx_task_end      answers every waiting call, exactly once
 *
 * The same operation asked for again while it is at work waits as well; asked for again
 * after it ended well it is answered at once. Another request meanwhile is refused. A
 * caller that goes away ends nothing: what has begun is finished.
 */
#ifndef LX_AGENT_INSTANCE_TASK_H
#define LX_AGENT_INSTANCE_TASK_H

#include "agent/instance/instance.h"
#include "agent/jobs.h"

/* Bytes of an operation's id. */
#define LX_OPERATION_MAX 128

struct lx_agent_move;
struct lx_timer;
struct lx_task_store;

struct lx_verb {
	const char *name;  /* "start": as in "cannot start web1" */
	const char *doing; /* "started": as in "web1 is being started" */
	/* 0: on its way; 1: done already; negative: refused, with err filled. */
	int (*begin)(struct lx_task *t, struct lx_err *err);
	/* Answers a call after success; NULL: with an InstanceReport. */
	void (*answer)(const struct lx_task *t, struct lx_call *call);
	/* May take the place of a task that waits for a clean shutdown, when it is forced. */
	bool overtakes;
	/* Nobody asked for it: one request may wait behind it. */
	bool own;
	/* This one ends, in whatever way; the instance is still there. May be NULL. */
	void (*finished)(struct lx_task *t);
	/* One has ended, in whatever way. May be NULL. */
	void (*ended)(struct lx_agent *a);
};

typedef void (*lx_task_step)(struct lx_task *t, const struct lx_job_end *end);

struct lx_task {
	struct lx_instance *inst;
	const struct lx_verb *verb;
	char *operation;
	TAILQ_HEAD(, lx_task_waiter) waiters;

	/* What was asked for. */
	bool force;
	bool start;    /* create: boot it as well */
	bool postcopy; /* send */
	uint32_t timeout_seconds;
	Lxmgr__V1__InstanceSpec *spec; /* create, update: the new one */
	Lxmgr__V1__AgentSnapshotRequest *snapshot;

	/* How it goes. */
	struct lx_job *job;
	lx_task_step step;
	struct lx_timer *timer;          /* ending.c */
	struct lx_task_store *store;     /* store.c */
	void (*next)(struct lx_task *t); /* store.c, stop.c */
	unsigned ticks;
	void (*progress)(struct lx_task *t, const Lxmgr__V1__ImageProgress *p); /* of the job; may be NULL */
	void (*started)(struct lx_task *t, pid_t pid);                          /* the same */
	struct lx_agent_move *move; /* move/: which one this is a part of, or NULL */
	bool shutting_down;         /* waits for a clean shutdown */
	bool restart;               /* ending.c: its guest asked for it */
	bool gone;                  /* the instance is no more */
	struct lx_err why;          /* settle.c: what it will end with */
	unsigned attempts;          /* settle.c */
	size_t n_needs_restart;     /* update */
	char **needs_restart;
	Lxmgr__V1__SnapshotRecord *made; /* snapshot.c */
};

/* The method handlers' common path. */
void lx_task_call(struct lx_agent *a, struct lx_call *call, const struct lx_verb *verb,
		  const Lxmgr__V1__AgentInstanceRequest *req);

int lx_task_check_operation(const char *operation, struct lx_err *err);
/* A task, not yet begun: after lx_task_join() returned 0, or where none is at work. */
int lx_task_new(struct lx_instance *inst, const struct lx_verb *verb, const char *operation,
		struct lx_task **ret, struct lx_err *err);
/* 1: the call waits for the task at work, which is for the same operation and verb. 0: there
 * is room for a new task. Negative: refused. */
int lx_task_join(struct lx_instance *inst, struct lx_call *call, const struct lx_verb *verb,
		 const char *operation, bool force, struct lx_err *err);
/* The call waits for the new task's end; the task begins. */
void lx_task_enter(struct lx_task *t, struct lx_call *call);
/* Runs the verb's `begin` (in its turn), and ends the task when that leaves nothing to wait for. */
void lx_task_begin(struct lx_task *t);

/* Hands `msg` (taken in any case) to a worker; `step` gets the end of it. */
int lx_task_job(struct lx_task *t, enum lx_job_class class, Lxmgr__V1__WorkerJob *msg, lx_task_step step,
		struct lx_err *err);
/* The same with descriptors for the worker, which are taken in any case. */
int lx_task_job_fds(struct lx_task *t, enum lx_job_class class, Lxmgr__V1__WorkerJob *msg,
		    struct lx_worker_fds *fds, lx_task_step step, struct lx_err *err);
/* Answers, logs, frees; err NULL or code LX_OK: success. The instance may be gone after it. */
void lx_task_end(struct lx_task *t, const struct lx_err *err);
/* Without a word, at the end of the agent. */
void lx_task_free(struct lx_task *t);

/* The verbs, one file each. */
extern const struct lx_verb lx_verb_create, lx_verb_start, lx_verb_stop, lx_verb_restart, lx_verb_freeze,
	lx_verb_unfreeze, lx_verb_update, lx_verb_delete;
/* What nobody asked for: ending.c, settle.c, autostart.c. */
extern const struct lx_verb lx_verb_end, lx_verb_look, lx_verb_autostart;

/* Steps that several verbs share. */

/* start.c: boots the instance (creating it when it is new), then ends the task. */
void lx_task_boot(struct lx_task *t);
/* stop.c: stops it as asked, then calls `stopped`; or ends the task with the failure. */
void lx_task_stop(struct lx_task *t, void (*stopped)(struct lx_task *t));
/* The last step of a stop: STOPPED, remembered as not wanted, task ended. */
void lx_task_stopped(struct lx_task *t);
int lx_task_may_stop(struct lx_task *t, struct lx_err *err);
/* store.c: notes whether the instance is wanted running, on disk too, then calls `next`. */
void lx_task_store(struct lx_task *t, bool started, void (*next)(struct lx_task *t));
void lx_task_store_forget(struct lx_task_store *s);
/* settle.c: finds out what is really there, cleans up after a dead run, then ends the task with `err`. */
void lx_task_settle(struct lx_task *t, const struct lx_err *err);

/* snapshot.c: has a worker that was killed left something of a snapshot? Then: finishes or undoes it. */
bool lx_snapshots_unfinished(const struct lx_instance *inst);
void lx_snapshots_mend(struct lx_task *t, void (*next)(struct lx_task *t));

/* Methods that need more than lx_task_call(). */
void lx_instance_create_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
void lx_instance_update_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
void lx_instance_delete_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
void lx_snapshot_create_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
void lx_snapshot_restore_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
void lx_snapshot_delete_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
void lx_snapshot_rename_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);

#endif
