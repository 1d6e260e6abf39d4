/*
 * The destination of a move: Transfer by the source's agent, of what has been announced (expect.c).
 *
 *      EXPECTED    the manager has announced it: this operation, this instance, that node
 *      RUNNING     the stream is there; a worker takes it in (agent/worker/move/receive.c)
 *      |
 *      +-- done          an instance of this node
 *      +-- ABORTED       nothing is left of it
 *      +-- READY         the worker or the stream is gone: the source is asked
 *      +-- COMMITTED     the worker is gone: another one finishes
 *
 * A stream that nobody has announced, of another node, or a second time, is refused before a
 * byte of it is written.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/instance/cards.h"
#include "agent/instance/monitor.h"
#include "agent/move/move.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/sm.h"
#include "lib/str.h"
#include "migration/dump_dir.h"
#include "proto/pb.h"

#define STATE(s) LXMGR__V1__MOVE_STATE__MOVE_STATE_##s
/* How often a worker may die over the last part before it is left to a person. */
#define ATTEMPTS 3

static void finish_it(struct lx_task *t);
static void on_received(struct lx_task *t, const struct lx_job_end *end);

/* ------------------------------------------------------------------ it is here */

static void announce_here(const struct lx_instance *inst)
{
	for (size_t i = 0; i < inst->spec->n_nics; i++) {
		const Lxmgr__V1__Nic *nic = inst->spec->nics[i];
		struct lx_err err = LX_ERR_INIT;
		char v4[64], v6[64];

		if (lx_network_here(inst->agent->network, nic->network, nic->hwaddr,
				    lx_address_part(nic->ipv4_address, v4, sizeof(v4)),
				    lx_address_part(nic->ipv6_address, v6, sizeof(v6)), &err) < 0)
			lx_warn("cannot announce a moved instance", "instance=%s error=\"%s\"", inst->name,
				err.msg);
	}
}

static void is_ours(struct lx_task *t, const Lxmgr__V1__WorkerResult *result)
{
	struct lx_instance *inst = t->inst;

	if (result->running) {
		lx_monitor_start(inst, result->monitor_pid);
		lx_instance_move(inst, LX_RUNNING, NULL);
	} else {
		lx_monitor_stop(inst);
		lx_instance_move(inst, LX_STOPPED, NULL);
	}
	lx_dump_dir_remove(inst->agent->run_dir, t->move->rec->operation);
	lx_task_end(t, NULL);
}

/* ------------------------------------------------------------------ it is not */

static void on_destroyed(struct lx_task *t, const struct lx_job_end *end)
{
	if (end->err->code != LX_OK)
		lx_error("cannot remove what came of a move", "instance=%s error=\"%s\"", t->inst->name,
			 end->err->msg);
	t->gone = true;
	lx_task_end(t, &t->why);
}

static void cannot_remove(struct lx_task *t, const struct lx_err *err)
{
	lx_error("cannot remove what came of a move", "instance=%s error=\"%s\"", t->inst->name, err->msg);
	t->gone = true;
	lx_task_end(t, &t->why);
}

/* What worked on it has ended: nothing holds its files any more. */
static void on_mended(struct lx_task *t, const struct lx_job_end *end)
{
	struct lx_err err = *end->err;

	lx_dump_dir_remove(t->inst->agent->run_dir, t->move->rec->operation);
	if (err.code != LX_OK)
		lx_warn("cannot end what works on a move", "instance=%s error=\"%s\"", t->inst->name,
			err.msg);
	if (lx_task_job(t, LX_JOB_WORK,
			lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_DESTROY, NULL), on_destroyed,
			&err) < 0)
		cannot_remove(t, &err);
}

static void is_not_ours(struct lx_task *t, const struct lx_err *why)
{
	Lxmgr__V1__MendJob job = LXMGR__V1__MEND_JOB__INIT;
	struct lx_err err = LX_ERR_INIT;

	t->why = *why;
	lx_move_abort(t->move, why);
	job.operation = t->move->rec->operation;
	if (lx_task_job(t, LX_JOB_MOVE,
			lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_MEND, &job.base), on_mended,
			&err) < 0)
		cannot_remove(t, &err);
}

/* ------------------------------------------------------------------ the source's word */

static void word_to_worker(struct lx_agent_move *m, bool committed)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__MoveCommit commit = LXMGR__V1__MOVE_COMMIT__INIT;
	Lxmgr__V1__MoveFailed failed = LXMGR__V1__MOVE_FAILED__INIT;

	failed.code = LX_ABORTED;
	failed.message = (char *)(uintptr_t) "the source has given it up";
	frame.what_case = committed ? LXMGR__V1__MOVE_FRAME__WHAT_COMMIT : LXMGR__V1__MOVE_FRAME__WHAT_FAILED;
	if (committed)
		frame.commit = &commit;
	else
		frame.failed = &failed;
	lx_relay_tell(m->relay, &frame);
}

static void on_word(struct lx_agent_move *m, unsigned state)
{
	bool committed = state != STATE(ABORTED);
	struct lx_err why = LX_ERR_INIT;

	lx_info("the source has said how a move ended", "instance=%s committed=%d", m->rec->instance,
		committed);
	if (m->relay) {
		word_to_worker(m, committed);
		return;
	}
	if (committed) {
		finish_it(m->task);
		return;
	}
	lx_err_set(&why, LX_ABORTED,
		   m->peer_removed ? "the source of %s was removed from the cluster"
				   : "the source has given up the move of %s",
		   m->rec->instance);
	is_not_ours(m->task, &why);
}

static void ask_source(struct lx_task *t)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_move_ask(t->move,
			LX_SM_TO(STATE(COMMITTED)) | LX_SM_TO(STATE(DONE)) | LX_SM_TO(STATE(ABORTED)),
			on_word, &err) < 0)
		lx_error("cannot ask how a move ended", "instance=%s error=\"%s\"", t->inst->name, err.msg);
}

/* The stream is gone. Before READY that is the end; in READY the worker waits for the word. */
static void on_cut(void *arg, const struct lx_err *err)
{
	struct lx_agent_move *m = arg;

	if (lx_move_reload(m, NULL) == 0 && m->rec->state == STATE(READY)) {
		ask_source(m->task);
		return;
	}
	/* After COMMIT it needs nobody, or (post-copy) must know at once. */
	lx_relay_close(m->relay, NULL);
	m->relay = NULL;
}

/* ------------------------------------------------------------------ the worker's end */

static void by_journal(struct lx_task *t, const struct lx_err *err)
{
	struct lx_agent_move *m = t->move;
	struct lx_err e = LX_ERR_INIT;

	if (lx_move_reload(m, &e) < 0) {
		lx_instance_move(t->inst, LX_ERROR, e.msg);
		lx_task_end(t, &e);
	} else if (m->rec->state == STATE(READY)) {
		ask_source(t);
	} else if (m->rec->state == STATE(COMMITTED) || m->rec->state == STATE(DONE)) {
		finish_it(t);
	} else {
		is_not_ours(t, err);
	}
}

static void on_received(struct lx_task *t, const struct lx_job_end *end)
{
	struct lx_agent_move *m = t->move;
	struct lx_err err = *end->err;

	lx_relay_close(m->relay, err.code == LX_OK ? NULL : &err);
	m->relay = NULL;
	lx_move_ask_stop(m);
	if (err.code == LX_OK) {
		(void)lx_move_reload(m, NULL);
		is_ours(t, end->result);
	} else {
		by_journal(t, &err);
	}
}

/* It runs: whoever wants something of it need not wait until the last of its memory is in place. */
static void on_started(struct lx_task *t, pid_t monitor)
{
	lx_monitor_start(t->inst, monitor);
	lx_instance_move(t->inst, LX_RUNNING, NULL);
}

static void on_progress(struct lx_task *t, const Lxmgr__V1__ImageProgress *p)
{
	bool thawed = lx_streq(p->phase, "thawed");

	/* What is sent to it stays here from the moment when it is ours, and the worker holds it until it
	 * runs. */
	if (!thawed && !lx_streq(p->phase, "committed"))
		return;
	if (thawed)
		lx_cards_plugged(t->inst);
	announce_here(t->inst);
}

/* The move is committed here and its worker has gone: from what is there. */
static void finish_it(struct lx_task *t)
{
	struct lx_agent_move *m = t->move;
	Lxmgr__V1__ReceiveJob job = LXMGR__V1__RECEIVE_JOB__INIT;
	struct lx_err err = LX_ERR_INIT;

	job.operation = m->rec->operation;
	job.mode = m->rec->mode;
	job.again = true;
	t->progress = on_progress;
	t->started = on_started;
	if (t->attempts++ < ATTEMPTS && lx_cards_guard(t->inst, &err) == 0 &&
	    lx_task_job(t, LX_JOB_MOVE,
			lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_RECEIVE, &job.base),
			on_received, &err) == 0)
		return;
	if (err.code == LX_OK)
		lx_err_set(&err, LX_INTERNAL, "%s has moved here, but cannot be brought up", t->inst->name);
	lx_err_hint(&err, "Its files are complete: lxmgr start %s boots it.", t->inst->name);
	lx_instance_move(t->inst, LX_ERROR, err.msg);
	lx_task_end(t, &err);
}

/* ------------------------------------------------------------------ the task */

static int start_worker(struct lx_task *t, struct lx_call *call, struct lx_err *err)
{
	struct lx_agent_move *m = t->move;
	Lxmgr__V1__ReceiveJob job = LXMGR__V1__RECEIVE_JOB__INIT;
	struct lx_worker_fds fds = { .n = 0 };
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return lx_err_errno(err, errno, "cannot make a socket pair for a worker");
	fds.fd[fds.n++] = pair[1];
	int r = lx_relay_open(m->agent->loop, call, true, pair[0], on_cut, m, &m->relay, err);

	if (r < 0) {
		lx_worker_fds_close(&fds);
		return r;
	}
	job.operation = m->rec->operation;
	job.mode = m->rec->mode;
	t->progress = on_progress;
	t->started = on_started;
	r = lx_cards_guard(t->inst, err);
	if (r < 0) {
		lx_worker_fds_close(&fds);
		return r;
	}
	return lx_task_job_fds(t, LX_JOB_MOVE,
			       lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_RECEIVE, &job.base),
			       &fds, on_received, err);
}

/* After a restart of the agent; a stream begins its task by itself. */
static int begin(struct lx_task *t, struct lx_err *err)
{
	struct lx_err why = LX_ERR_INIT;

	if (!t->move->resumed)
		return 0;
	lx_err_set(&why, LX_ABORTED, "the agent of node %s ended while it received %s", t->inst->agent->node,
		   t->inst->name);
	by_journal(t, &why);
	return 0;
}

static void finished(struct lx_task *t)
{
	struct lx_agent_move *m = t->move;

	if (!m)
		return;
	lx_relay_close(m->relay, NULL);
	m->relay = NULL;
	lx_move_ask_stop(m);
	m->task = NULL;
	lx_move_tell_end(m);
}

const struct lx_verb lx_verb_receive = {
	.name = "receive",
	.doing = "received",
	.own = true, /* the move is over for who asked for it before the last is cleared away here */
	.begin = begin,
	.finished = finished,
	.ended = lx_move_expect_again,
};

/* ------------------------------------------------------------------ the stream */

/* Who the stream is from and what for, before anything is done. NULL with err filled. */
static struct lx_agent_move *recognise(struct lx_agent *a, const struct lx_peer *peer,
				       const Lxmgr__V1__MoveOpen *open, struct lx_err *err)
{
	struct lx_agent_move *m = lx_move_find(a, open->operation);

	if (open->version != LX_MOVE_VERSION) {
		lx_err_set(err, LX_FAILED_PRECONDITION,
			   "the source speaks version %u of a move, this node %u", open->version,
			   LX_MOVE_VERSION);
		lx_err_hint(err, "Bring both nodes to the same version of lxmgr.");
		return NULL;
	}
	if (m && m->rec->role == LXMGR__V1__MOVE_ROLE__MOVE_ROLE_DESTINATION &&
	    m->rec->state == STATE(EXPECTED) && !m->task && lx_streq(m->rec->peer, peer->common_name) &&
	    lx_streq(m->rec->instance, open->instance) && m->rec->new_generation == open->generation)
		return m;
	lx_err_set(err, LX_PERMISSION_DENIED, "node %s does not expect this instance from %s", a->node,
		   peer->common_name ? peer->common_name : "a stranger");
	lx_warn("refused the stream of a move", "peer=%s name=\"%s\" operation=\"%.64s\" instance=\"%.64s\"",
		peer->address, peer->common_name ? peer->common_name : "", open->operation, open->instance);
	return NULL;
}

static int receive(struct lx_agent *a, struct lx_call *call, const Lxmgr__V1__MoveOpen *open,
		   struct lx_err *err)
{
	struct lx_agent_move *m = recognise(a, lx_call_peer(call), open, err);
	struct lx_instance *inst = NULL;
	struct lx_task *t = NULL;

	if (!m)
		return -EPERM;
	m->rec->started_at_ns = open->started_at_ns;
	if (lx_map_has(&a->instances, m->rec->instance))
		return lx_err_set(err, LX_ALREADY_EXISTS, "node %s has an instance %s already", a->node,
				  m->rec->instance);
	int r = lx_move_record_advance(a->state_dir, m->rec, STATE(RUNNING), err);

	if (r == 0)
		r = lx_instance_add(a, m->rec->spec, LX_CREATING, &inst, err);
	if (r == 0)
		r = lx_task_new(inst, &lx_verb_receive, m->rec->operation, &t, err);
	if (r != 0 || !t) {
		lx_move_abort(m, err);
		if (inst)
			lx_map_del(&a->instances, inst->name);
		return r;
	}
	t->move = m;
	m->task = t;
	m->resumed = false;
	r = start_worker(t, call, err);
	if (r < 0) {
		lx_relay_close(m->relay, err);
		m->relay = NULL;
		is_not_ours(t, err);
	}
	return 0;
}

static void on_first(struct lx_call *call, struct lx_bytes msg, void *arg)
{
	Lxmgr__V1__MoveFrame *frame = lxmgr__v1__move_frame__unpack(NULL, msg.len, msg.data);
	struct lx_err err = LX_ERR_INIT;
	int r;

	if (frame && frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_OPEN)
		r = receive(arg, call, frame->open, &err);
	else
		r = lx_err_set(&err, LX_INVALID_ARGUMENT, "the first message must say which move this is");
	if (r < 0)
		lx_call_fail(call, &err);
	lx_pb_free(frame);
}

static const struct lx_call_events first_events = { .bytes = on_first };

void lx_move_transfer_open(struct lx_call *call, void *arg)
{
	lx_call_set_events(call, &first_events, arg);
}
