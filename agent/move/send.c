/*
 * The source of a move: SendInstance.
 *
 *      journal RUNNING
 *      dial the destination, open the stream, say which move this is
 *      a worker does it (agent/worker/move/send.c); frames pass through
 *      |
 *      +-- done          journal DONE, the instance's directory is removed
 *      +-- ABORTED       mended, looked at; near-live: started again
 *      +-- COMMITTED     killed what is left here; the destination is asked until it is done, or
 *                        the manager says that it is no more (take_back.c)
 *
 * A worker that died before it committed has left a RUNNING journal: that becomes ABORTED, and
 * another worker mends what it may have left. A destination that goes away is the same as one
 * that refuses, before COMMIT; after it, its agent is asked when it is back.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/instance/monitor.h"
#include "agent/move/move.h"
#include "agent/peer.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/sm.h"
#include "lib/str.h"
#include "proto/pb.h"

#define STATE(s)  LXMGR__V1__MOVE_STATE__MOVE_STATE_##s
#define NEAR_LIVE LXMGR__V1__MOVE_MODE__MOVE_MODE_NEAR_LIVE
#define LIVE      LXMGR__V1__MOVE_MODE__MOVE_MODE_LIVE
#define COLD      LXMGR__V1__MOVE_MODE__MOVE_MODE_COLD

static void end_with(struct lx_task *t, const struct lx_err *err)
{
	lx_task_end(t, err);
}

/* ------------------------------------------------------------------ it is the destination's */

static void on_destroyed(struct lx_task *t, const struct lx_job_end *end)
{
	if (end->err->code != LX_OK) {
		/* It is no loss, but it takes room: the next start of the agent tries again. */
		lx_error("cannot remove a moved instance here", "instance=%s error=\"%s\"", t->inst->name,
			 end->err->msg);
		lx_instance_move(t->inst, LX_ERROR, end->err->msg);
		end_with(t, end->err);
		return;
	}
	t->gone = true;
	end_with(t, NULL);
}

static void announce_away(const struct lx_instance *inst, const char *node)
{
	for (size_t i = 0; i < inst->spec->n_nics; i++) {
		const Lxmgr__V1__Nic *nic = inst->spec->nics[i];
		char v4[64], v6[64];

		/* Without it the manager's leases say the same a moment later. */
		(void)lx_network_away(inst->agent->network, nic->network, nic->hwaddr,
				      lx_address_part(nic->ipv4_address, v4, sizeof(v4)),
				      lx_address_part(nic->ipv6_address, v6, sizeof(v6)), node, NULL);
	}
}

/* The other node has all of it and says so. */
static void remove_here(struct lx_task *t)
{
	struct lx_agent_move *m = t->move;
	struct lx_err err = LX_ERR_INIT;

	if (m->rec->state == STATE(COMMITTED) &&
	    lx_move_record_advance(m->agent->state_dir, m->rec, STATE(DONE), &err) < 0) {
		end_with(t, &err);
		return;
	}
	if (lx_task_job(t, LX_JOB_WORK,
			lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_DESTROY, NULL), on_destroyed,
			&err) < 0)
		end_with(t, &err);
}

static void on_word(struct lx_agent_move *m, unsigned state)
{
	if (state == STATE(DONE))
		remove_here(m->task);
	else
		lx_move_take_back(m->task);
}

static void on_cleaned(struct lx_task *t, const struct lx_job_end *end)
{
	struct lx_err err = LX_ERR_INIT;

	if (end->err->code != LX_OK)
		lx_warn("cannot clean up after a moved instance", "instance=%s error=\"%s\"", t->inst->name,
			end->err->msg);
	if (lx_move_ask(t->move, LX_SM_TO(STATE(DONE)), on_word, &err) < 0)
		end_with(t, &err);
}

/* Committed, and not heard of since: nothing may run here, and the files stay. */
static void wait_for_done(struct lx_task *t)
{
	struct lx_instance *inst = t->inst;
	struct lx_err err = LX_ERR_INIT;

	lx_monitor_stop(inst);
	if (lx_instance_is_up(inst))
		lx_instance_move(inst, LX_STOPPING, "it has moved, and waits for the other node's word");
	if (lx_task_job(t, LX_JOB_WORK, lx_job_message(inst->spec, LXMGR__V1__WORKER_JOB__JOB_CLEANUP, NULL),
			on_cleaned, &err) < 0)
		end_with(t, &err);
}

/* ------------------------------------------------------------------ it stays */

static void on_swept(struct lx_task *t, const struct lx_job_end *end)
{
	if (end->err->code != LX_OK)
		lx_task_settle(t, end->err);
	else
		lx_task_boot(t);
}

/* A near-live move has stopped it, or it has ended with CRIU; it ran, so it runs again. */
static void start_again(struct lx_task *t)
{
	struct lx_err err = LX_ERR_INIT;

	if (t->move->rec->mode != LIVE)
		lx_task_boot(t);
	else if (lx_task_job(t, LX_JOB_WORK,
			     lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_CLEANUP, NULL),
			     on_swept, &err) < 0)
		lx_task_settle(t, &err);
}

static void on_mended(struct lx_task *t, const struct lx_job_end *end)
{
	struct lx_agent_move *m = t->move;
	/* Its worker has gone too, and could not say: it ran when it began to be dumped. */
	bool dumped = m->rec->mode == LIVE && lx_dump_dir_exists(m->agent->run_dir, m->rec->operation);
	bool runs = end->err->code != LX_OK || end->result->running;

	if (end->err->code != LX_OK)
		lx_error("cannot mend after a move", "instance=%s error=\"%s\"", t->inst->name,
			 end->err->msg);
	lx_dump_dir_remove(m->agent->run_dir, m->rec->operation);
	if (!runs) {
		lx_monitor_stop(t->inst);
		if (lx_instance_is_up(t->inst))
			lx_instance_move(t->inst, LX_STOPPING, NULL);
	}
	if (!runs && (m->rec->start || dumped)) {
		m->rec->start = true;
		m->ended = m->rec->mode == LIVE;
		start_again(t);
	} else {
		lx_task_settle(t, &t->why);
	}
}

static void stays(struct lx_task *t, const struct lx_err *why)
{
	Lxmgr__V1__MendJob job = LXMGR__V1__MEND_JOB__INIT;
	struct lx_err err = LX_ERR_INIT;

	t->why = *why;
	lx_move_abort(t->move, why);
	job.operation = t->move->rec->operation;
	if (lx_task_job(t, LX_JOB_MOVE,
			lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_MEND, &job.base), on_mended,
			&err) < 0)
		lx_task_settle(t, why);
}

/* ------------------------------------------------------------------ the worker's end */

static void hang_up(struct lx_agent_move *m, const struct lx_err *err)
{
	lx_relay_close(m->relay, err);
	m->relay = NULL;
	if (m->channel)
		lx_channel_close(m->channel);
	m->channel = NULL;
}

static void keep_report(struct lx_agent_move *m, const Lxmgr__V1__WorkerResult *result)
{
	if (!result || !result->move)
		return;
	lx_pb_free(m->rec->report);
	m->rec->report = LX_PB_DUP(Lxmgr__V1__MoveReport, result->move);
	if (m->rec->report) {
		lx_pb_set(&m->rec->report->source, m->agent->node);
		lx_pb_set(&m->rec->report->target, m->rec->peer);
	}
}

static void on_sent(struct lx_task *t, const struct lx_job_end *end)
{
	struct lx_agent_move *m = t->move;
	struct lx_err err = *end->err, e = LX_ERR_INIT;

	hang_up(m, err.code == LX_OK ? NULL : &err);
	if (lx_move_reload(m, &e) < 0) {
		/* What cannot be read decides nothing: as it stands until a person looks. */
		lx_instance_move(t->inst, LX_ERROR, e.msg);
		end_with(t, &e);
		return;
	}
	if (m->rec->state == STATE(COMMITTED) && err.code == LX_OK) {
		keep_report(m, end->result);
		/* Whoever watches sees it run until it is gone from here: it does, over there. */
		lx_monitor_stop(t->inst);
		announce_away(t->inst, m->rec->peer);
		remove_here(t);
	} else if (m->rec->state == STATE(COMMITTED)) {
		announce_away(t->inst, m->rec->peer);
		wait_for_done(t);
	} else {
		if (err.code == LX_OK)
			lx_err_set(&err, LX_INTERNAL, "the move ended before it was committed");
		stays(t, &err);
	}
}

static void on_cut(void *arg, const struct lx_err *err)
{
	struct lx_agent_move *m = arg;

	/* Without the other side there is nobody to talk to: the worker meets a closed socket. */
	if (err->code != LX_OK)
		lx_debug("the stream of a move ended", "instance=%s error=\"%s\"", m->rec->instance,
			 err->msg);
	if (err->code != LX_OK && err->code != LX_CANCELLED && err->code != LX_UNAVAILABLE) {
		/* The destination's agent refused: its word is the worker's error. */
		Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
		Lxmgr__V1__MoveFailed failed = LXMGR__V1__MOVE_FAILED__INIT;

		failed.code = err->code;
		failed.message = (char *)(uintptr_t)err->msg;
		failed.hint = (char *)(uintptr_t)err->hint;
		frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_FAILED;
		frame.failed = &failed;
		lx_relay_tell(m->relay, &frame);
	}
	lx_relay_close(m->relay, NULL);
	m->relay = NULL;
}

static void on_progress(struct lx_task *t, const Lxmgr__V1__ImageProgress *p)
{
	if (lx_streq(p->phase, "committed"))
		announce_away(t->inst, t->move->rec->peer);
	lx_move_tell_progress(t->move, p);
}

/* ------------------------------------------------------------------ beginning */

static int open_stream(struct lx_agent_move *m, struct lx_worker_fds *fds, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__MoveOpen open = LXMGR__V1__MOVE_OPEN__INIT;
	struct lx_call *call = NULL;
	int pair[2];
	int r = lx_peer_dial(m->agent, m->rec->peer, m->rec->peer_address, &m->channel, err);

	if (r == 0)
		r = lx_channel_stream_raw(m->channel, "/lxmgr.v1.AgentService/Transfer", NULL, NULL, NULL,
					  &call, err);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return lx_err_errno(err, errno, "cannot make a socket pair for a worker");
	fds->fd[fds->n++] = pair[1];
	r = lx_relay_open(m->agent->loop, call, false, pair[0], on_cut, m, &m->relay, err);
	if (r < 0)
		return r;
	open.operation = m->rec->operation;
	open.instance = m->rec->instance;
	open.generation = m->rec->new_generation;
	open.version = LX_MOVE_VERSION;
	open.started_at_ns = m->rec->mode == LIVE ? m->task->inst->started_at_ns : 0;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_OPEN;
	frame.open = &open;
	return lx_call_send(call, &frame.base) < 0 ? lx_err_oom(err) : 0;
}

static int start_worker(struct lx_task *t, struct lx_err *err)
{
	struct lx_agent_move *m = t->move;
	Lxmgr__V1__SendJob job = LXMGR__V1__SEND_JOB__INIT;
	struct lx_worker_fds fds = { .n = 0 };
	int r = open_stream(m, &fds, err);

	if (r < 0) {
		lx_worker_fds_close(&fds);
		return r;
	}
	job.operation = m->rec->operation;
	job.mode = m->rec->mode;
	job.timeout_seconds = t->timeout_seconds;
	job.stop_first = t->force;
	job.postcopy = t->postcopy;
	t->progress = on_progress;
	return lx_task_job_fds(t, LX_JOB_MOVE,
			       lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_SEND, &job.base),
			       &fds, on_sent, err);
}

static int check_state(const struct lx_instance *inst, Lxmgr__V1__MoveMode mode, struct lx_err *err)
{
	if (inst->state == (mode == COLD ? LX_STOPPED : LX_RUNNING))
		return 0;
	lx_err_set(err, LX_FAILED_PRECONDITION, "%s is %s: that is not what this move is for", inst->name,
		   lx_instance_state_name(inst));
	return -EBUSY;
}

static int begin(struct lx_task *t, struct lx_err *err)
{
	struct lx_agent_move *m = t->move;
	struct lx_err why = LX_ERR_INIT;

	if (!m->resumed) {
		/* It may have waited for its turn, and the guest may have ended meanwhile. */
		if (check_state(t->inst, m->rec->mode, err) < 0) {
			lx_move_abort(m, err);
			return -EBUSY;
		}
		if (start_worker(t, &why) < 0) {
			hang_up(m, NULL);
			stays(t, &why);
		}
		return 0;
	}
	if (m->rec->state == STATE(COMMITTED)) {
		wait_for_done(t);
	} else if (m->rec->state == STATE(DONE)) {
		remove_here(t);
	} else {
		lx_err_set(&why, LX_ABORTED, "the agent of node %s ended while it moved %s", m->agent->node,
			   t->inst->name);
		stays(t, &why);
	}
	return 0;
}

/* Who asked for a move that fails without a loss must hear that this one did not. */
static void say_ended(struct lx_agent_move *m)
{
	const struct lx_instance *inst = m->task->inst;
	bool runs = lx_instance_is_up(inst);
	lx_autofree char *msg = lx_asprintf("%s; %s ended with it and %s", m->rec->error, inst->name,
					    runs ? "was started again" : "could not be started again");
	lx_autofree char *hint =
		runs ? lx_asprintf("What ran in %s was lost; its files are as they were.", inst->name)
		     : lx_asprintf("Its files are as they were: lxmgr start %s", inst->name);

	lx_error("a guest has ended with a move that failed", "instance=%s operation=%s started=%d",
		 inst->name, m->rec->operation, runs);
	if (!msg || !hint || lx_pb_set(&m->rec->error, msg) < 0 || lx_pb_set(&m->rec->hint, hint) < 0)
		lx_error("cannot note how a move ended", "operation=%s", m->rec->operation);
}

/* It is as before the move, or somebody has to look: not to be started for this move again. */
static void note_mended(struct lx_agent_move *m)
{
	struct lx_err err = LX_ERR_INIT;

	if (m->rec->state != STATE(ABORTED) || !m->rec->start)
		return;
	if (m->ended)
		say_ended(m);
	m->rec->start = false;
	if (lx_move_record_save(m->agent->state_dir, m->rec, &err) < 0)
		lx_warn("cannot note how a move ended", "operation=%s error=\"%s\"", m->rec->operation,
			err.msg);
}

static void finished(struct lx_task *t)
{
	struct lx_agent_move *m = t->move;

	if (!m)
		return;
	note_mended(m);
	hang_up(m, NULL);
	lx_move_ask_stop(m);
	m->task = NULL;
	lx_move_tell_end(m);
}

const struct lx_verb lx_verb_send = {
	.name = "move",
	.doing = "moved",
	.begin = begin,
	.finished = finished,
};

/* ------------------------------------------------------------------ the request */

static int check(const struct lx_instance *inst, const Lxmgr__V1__AgentSendInstanceRequest *req,
		 struct lx_err *err)
{
	if (req->new_generation <= req->generation)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the new generation of %s must be a higher one",
				  inst->name);
	int r = check_state(inst, req->mode, err);

	if (r < 0 || !inst->task || (inst->task->verb->own && !inst->next))
		return r;
	return lx_err_set(err, LX_FAILED_PRECONDITION, "%s is being %s", inst->name,
			  (inst->next ? inst->next : inst->task)->verb->doing);
}

static lx_move_record *new_record(const Lxmgr__V1__AgentSendInstanceRequest *req)
{
	lx_move_record *rec = malloc(sizeof(*rec));

	if (!rec)
		return NULL;
	lxmgr__v1__move_record__init(rec);
	rec->role = LXMGR__V1__MOVE_ROLE__MOVE_ROLE_SOURCE;
	rec->state = STATE(RUNNING);
	rec->mode = req->mode;
	rec->generation = req->generation;
	rec->new_generation = req->new_generation;
	rec->start = req->mode == NEAR_LIVE;
	if (lx_pb_set(&rec->operation, req->operation) == 0 && lx_pb_set(&rec->instance, req->name) == 0 &&
	    lx_pb_set(&rec->peer, req->target) == 0 &&
	    lx_pb_set(&rec->peer_address, req->target_address) == 0)
		return rec;
	lx_move_record_free(rec);
	return NULL;
}

static int start_move(struct lx_agent *a, const Lxmgr__V1__AgentSendInstanceRequest *req,
		      struct lx_agent_move **ret, struct lx_err *err)
{
	struct lx_instance *inst = lx_instance_find(a, req->name, req->generation, err);
	struct lx_agent_move *m = NULL;
	struct lx_task *t = NULL;

	if (!inst)
		return -ENOENT;
	int r = check(inst, req, err);

	if (r < 0)
		return r;
	lx_move_record *rec = new_record(req);

	r = rec ? lx_move_add(a, rec, &m, err) : lx_err_oom(err);
	if (r == 0)
		r = lx_task_new(inst, &lx_verb_send, req->operation, &t, err);
	if (r != 0 || !t) {
		if (m)
			lx_move_forget(m);
		return r;
	}
	t->move = m;
	t->timeout_seconds = req->timeout_seconds;
	t->force = req->stop_first;
	t->postcopy = req->postcopy;
	m->task = t;
	*ret = m;
	return 0;
}

void lx_move_send_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentSendInstanceRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	struct lx_agent_move *m = lx_move_find(a, req->operation);
	struct lx_err err = LX_ERR_INIT;
	bool fresh = m == NULL;
	int r = lx_move_operation_check(req->operation, &err);

	if (r == 0 && m &&
	    (m->rec->role != LXMGR__V1__MOVE_ROLE__MOVE_ROLE_SOURCE ||
	     !lx_streq(m->rec->instance, req->name)))
		r = lx_err_set(&err, LX_INVALID_ARGUMENT, "operation %s is another move", req->operation);
	/* A manager that has forgotten how far it was asks without saying how. */
	if (r == 0 && !m && req->mode == LXMGR__V1__MOVE_MODE__MOVE_MODE_UNSPECIFIED)
		r = lx_err_set(&err, LX_NOT_FOUND, "there is no such move on this node");
	if (r == 0 && !m)
		r = start_move(a, req, &m, &err);
	if (r == 0 && m) {
		m->peer_removed |= req->peer_removed;
		r = lx_move_watch(m, call, &err);
	}
	if (r < 0)
		lx_call_fail(call, &err);
	if (m && fresh && m->task)
		lx_task_begin(m->task);
}
