/*
 * Moves of instances, as an agent has a part in them (migration/migration.h, record.h).
 *
 *   moves.c      the journal in memory; what was under way when the agent ended
 *   send.c       source: SendInstance
 *   expect.c     destination: ExpectInstance
 *   receive.c    destination: Transfer
 *   outcome.c    asking the other agent how it ended; answering that
 *   take_back.c  source: what had been committed to a node that is no more
 *   figures.c    a report that the source's worker could not finish
 *   relay.c      what the two workers say to each other
 *   watchers.c   telling the manager
 *
 * A move is a task (instance/task.h) of its instance on either side, so nothing else happens to
 * the instance meanwhile. The source decides. Once it has committed, its task does not end before
 * the destination has said "done", and its files stay until then.
 */
#ifndef LX_AGENT_MOVE_MOVE_H
#define LX_AGENT_MOVE_MOVE_H

#include "agent/agent.h"
#include "agent/instance/task.h"
#include "agent/move/relay.h"
#include "lib/list.h"
#include "migration/dump_dir.h"
#include "migration/migration.h"
#include "migration/record.h"

struct lx_move_watcher;
struct lx_ask;

struct lx_agent_move {
	struct lx_agent *agent;
	lx_move_record *rec;  /* as on disk */
	struct lx_task *task; /* at work on it, or NULL */
	struct lx_relay *relay;
	struct lx_channel *channel; /* source: to the destination */
	struct lx_ask *ask;
	TAILQ_HEAD(, lx_move_watcher) watchers;
	bool resumed;      /* found under way when the agent started */
	bool ended;        /* source: its guest has, with a live move that failed, and is started again */
	bool peer_removed; /* the other node never says anything any more */
};

/* moves.c */

/* Reads the journal. Before instances are looked at. */
int lx_moves_load(struct lx_agent *a, struct lx_err *err);
void lx_moves_close(struct lx_agent *a);
struct lx_agent_move *lx_move_find(struct lx_agent *a, const char *operation);
/* Takes over `rec`, saves it. */
int lx_move_add(struct lx_agent *a, lx_move_record *rec, struct lx_agent_move **ret, struct lx_err *err);
/* The worker has written the journal: reads it again. */
int lx_move_reload(struct lx_agent_move *m, struct lx_err *err);
bool lx_move_settled(const struct lx_agent_move *m); /* DONE or ABORTED */
/* ABORTED with that reason, unless it is committed or settled. */
void lx_move_abort(struct lx_agent_move *m, const struct lx_err *why);
void lx_move_forget(struct lx_agent_move *m);
/*
 * Instances that were being moved when the agent ended: true when a task was begun that goes on
 * with it; false: look at it as at any other.
 */
bool lx_move_resume(struct lx_instance *inst);

void lx_move_end_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);

/* expect.c */
void lx_move_expect_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
/* A receiving has ended: those who waited for that have their turn. */
void lx_move_expect_again(struct lx_agent *a);

/* take_back.c: committed here, and the destination was removed from the cluster: it is ours again. */
void lx_move_take_back(struct lx_task *t);

/* send.c, receive.c */
void lx_move_send_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
void lx_move_transfer_open(struct lx_call *call, void *agent);
void lx_move_check_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
extern const struct lx_verb lx_verb_send, lx_verb_receive;

/*
 * devices.c: names of the devices that an instance has of its node, "data, cam", cut at `size`; with
 * `missing` those without which it cannot start and that this node lacks. Returns how many.
 */
size_t lx_move_node_devices(const Lxmgr__V1__InstanceSpec *spec, bool missing, char *buf, size_t size);
/* The same of its proxies; with `taken` only those that listen on the node and could not here and now. */
size_t lx_move_proxies(const Lxmgr__V1__InstanceSpec *spec, bool taken, char *buf, size_t size);

/* outcome.c */
void lx_move_outcome_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
/*
 * Asks the other agent, again and again, until it says one of the states in `wanted` (LX_SM_TO
 * of MoveState); ABORTED instead when it is not part of the cluster any more. Once; the move's
 * task is there then.
 */
int lx_move_ask(struct lx_agent_move *m, uint32_t wanted, void (*cb)(struct lx_agent_move *m, unsigned state),
		struct lx_err *err);
void lx_move_ask_stop(struct lx_agent_move *m);

/*
 * figures.c: the destination's part of the report, at a source that has not heard "done". Before the
 * journal says DONE.
 */
void lx_move_take_figures(struct lx_agent_move *m, const Lxmgr__V1__MoveOutcome *outcome);

/* watchers.c */
int lx_move_watch(struct lx_agent_move *m, struct lx_call *call, struct lx_err *err);
void lx_move_tell_progress(struct lx_agent_move *m, const Lxmgr__V1__ImageProgress *progress);
/* It is settled: all who watch get the outcome and the end of their call. */
void lx_move_tell_end(struct lx_agent_move *m);
/* The agent ends. */
void lx_move_unwatch_all(struct lx_agent_move *m);
void lx_move_reply_status(struct lx_agent_move *m, struct lx_call *call);

#endif
