/*
 * The source of a move, whole. Three ways, alike at both ends:
 *
 *   cold        files, COMMIT
 *   near-live   files while it runs, clean stop, files that changed, COMMIT
 *   live        files while it runs, freeze, dump (send_live.c), COMMIT
 *
 * Before COMMIT any failure takes the way back, says "aborted" in the journal first, and the
 * instance goes on (near-live: is started again by the agent). After it the only question
 * left is when the other node says "done".
 */
#include "agent/worker/move/send.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/intercepts.h"
#include "agent/worker/instance/rootfs.h"
#include "agent/worker/move/instance_job.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/str.h"
#include "proto/pb.h"

#define LIVE      LXMGR__V1__MOVE_MODE__MOVE_MODE_LIVE
#define NEAR_LIVE LXMGR__V1__MOVE_MODE__MOVE_MODE_NEAR_LIVE
#define COMMITTED LXMGR__V1__MOVE_STATE__MOVE_STATE_COMMITTED

/* ------------------------------------------------------------------ files */

int lx_send_files(struct lx_send *s, bool last, struct lx_err *err)
{
	lx_move_progress(&s->m, last ? "last files" : "files", s->m.talk.sent, 0);
	return lx_tree_send(s->tree, last, err);
}

/* What is there already, so that little is left for when it stands still. */
static int send_files_ahead(struct lx_send *s, struct lx_err *err)
{
	int r = lx_send_files(s, false, err);

	if (r == 0)
		r = lx_talk_expect(&s->m.talk, LXMGR__V1__MOVE_FRAME__WHAT_SYNCED, NULL, err);
	lx_move_phase(&s->m, "files");
	/* Again: the first pass may have taken long, and the instance has gone on. */
	if (r == 0)
		r = lx_send_files(s, false, err);
	if (r == 0)
		r = lx_talk_expect(&s->m.talk, LXMGR__V1__MOVE_FRAME__WHAT_SYNCED, NULL, err);
	lx_move_phase(&s->m, "files-again");
	return r;
}

/* ------------------------------------------------------------------ near-live */

static int stop_clean(struct lx_send *s, struct lx_err *err)
{
	Lxmgr__V1__WorkerJob msg = LXMGR__V1__WORKER_JOB__INIT;
	Lxmgr__V1__StopJob stop = LXMGR__V1__STOP_JOB__INIT;
	struct lx_instance_job j;

	stop.timeout_seconds = s->m.job->msg->send->timeout_seconds;
	msg.spec = s->spec;
	msg.job_case = LXMGR__V1__WORKER_JOB__JOB_STOP;
	msg.stop = &stop;
	lx_move_progress(&s->m, "stop", 0, 0);
	s->frozen_ns = lx_now_monotonic_ns();
	int r = lx_instance_job_start(&s->m, &msg, &j, err);

	if (r == 0)
		r = lx_instance_job_wait(&j, NULL, err);
	lx_move_phase(&s->m, "stop");
	return r;
}

static int send_standing(struct lx_send *s, struct lx_err *err)
{
	int r = 0;

	if (s->mode == NEAR_LIVE && !s->m.job->msg->send->stop_first)
		r = send_files_ahead(s, err);
	if (r == 0 && s->mode == NEAR_LIVE)
		r = stop_clean(s, err);
	if (r == 0)
		r = lx_send_files(s, true, err);
	lx_move_phase(&s->m, "last-files");
	if (r == 0)
		r = lx_talk_expect(&s->m.talk, LXMGR__V1__MOVE_FRAME__WHAT_READY, NULL, err);
	lx_move_phase(&s->m, "ready");
	return r;
}

/* ------------------------------------------------------------------ the point of no return */

static void fill_report(struct lx_send *s)
{
	const struct lx_tree_stats *files = lx_tree_sender_stats(s->tree);
	Lxmgr__V1__MoveReport *r = s->m.report;

	r->mode = s->mode;
	r->files = files->files_sent;
	r->file_bytes = files->bytes_sent;
	r->bytes_raw = s->dump_bytes + s->memory.bytes + r->file_bytes + r->snapshot_bytes;
	r->bytes_sent = s->m.talk.sent;
}

/* So far. The rest is the other node's, and asked for by the agent, should this worker not hear it. */
static void fill_times(struct lx_send *s)
{
	uint64_t now = lx_now_monotonic_ns();

	s->m.report->total_ns = (int64_t)(now - s->began_ns);
	s->m.report->downtime_ns = s->frozen_ns ? (int64_t)(now - s->frozen_ns) : 0;
}

static int commit(struct lx_send *s, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__MoveCommit *word = malloc(sizeof(*word));

	if (!word)
		return lx_err_oom(err);
	lxmgr__v1__move_commit__init(word);
	fill_report(s);
	fill_times(s);
	lx_pb_free(s->m.rec->report);
	s->m.rec->report = LX_PB_DUP(Lxmgr__V1__MoveReport, s->m.report);
	int r = lx_move_record_advance(s->m.job->state_dir, s->m.rec, COMMITTED, err);

	lx_move_phase(&s->m, "commit");
	if (r == 0) {
		s->committed = true;
		(void)lx_traffic_take(&s->traffic, word, NULL);
		word->memory_follows = s->memory.after;
		frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_COMMIT;
		frame.commit = word;
		/* It asks when it does not hear this. */
		(void)lx_talk_send(&s->m.talk, &frame, NULL);
		lx_move_progress(&s->m, "committed", 0, 0);
	}
	lx_pb_free(word);
	return r;
}

static void take_phases(struct lx_send *s, const Lxmgr__V1__MoveDone *done)
{
	for (size_t i = 0; i < done->n_phases; i++)
		(void)lx_move_report_phase(s->m.report, done->phases[i]->key, done->phases[i]->value);
}

int lx_send_expect(struct lx_send *s, Lxmgr__V1__MoveFrame__WhatCase what, Lxmgr__V1__MoveFrame **ret,
		   struct lx_err *err)
{
	for (;;) {
		Lxmgr__V1__MoveFrame *frame = NULL;
		int r = lx_talk_recv(&s->m.talk, &frame, err);

		if (r < 0)
			return r;
		if (frame->what_case == what) {
			*ret = frame;
			return 0;
		}
		r = frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_MEMORY_WANTED
			    ? lx_memory_wanted(&s->memory, frame->memory_wanted, err)
			    : lx_err_set(err, LX_INVALID_ARGUMENT, "frame %d does not belong here",
					 (int)frame->what_case);
		lx_pb_free(frame);
		if (r < 0)
			return r;
	}
}

/* It runs, or lies, at the other node from now on. Not hearing so is for the agent to ask about. */
static int wait_done(struct lx_send *s, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame *frame = NULL;
	int r = lx_send_expect(s, LXMGR__V1__MOVE_FRAME__WHAT_DONE, &frame, err);

	if (r < 0)
		return r;
	take_phases(s, frame->done);
	s->m.report->exposed_ns = frame->done->exposed_ns;
	if (lx_pb_set(&s->m.report->booted, frame->done->booted) < 0)
		r = lx_err_oom(err);
	lx_move_phase(&s->m, "done");
	if (s->frozen_ns) {
		uint64_t committed = s->committed_ns - s->frozen_ns;

		s->m.report->downtime_ns = (int64_t)committed + frame->done->thawed_ns;
		if (frame->done->heard_ns)
			s->m.report->peer_downtime_ns = (int64_t)committed + frame->done->heard_ns;
	}
	lx_pb_free(frame);
	return r;
}

/* ------------------------------------------------------------------ the verb */

static int open_source(struct lx_send *s, struct lx_err *err)
{
	const struct lx_job *job = s->m.job;
	int r = lx_spec_load(job, &s->spec, err);

	if (r == 0)
		r = lx_run_find(job, &s->run, err);
	if (r < 0)
		return r;
	s->runs = r == 1;
	/* Preflight says so before; nothing of such a guest comes to CRIU. */
	if (s->mode == LIVE && lx_spec_is_privileged(s->spec))
		return lx_err_set(err, LX_FAILED_PRECONDITION, "%s is privileged and cannot be moved live",
				  job->name);
	if (s->mode == LIVE && s->runs && lx_intercepts_running(job))
		return lx_err_set(err, LX_FAILED_PRECONDITION,
				  "system calls of %s stop for its node: it cannot be moved live", job->name);
	if (!s->runs && s->mode != LXMGR__V1__MOVE_MODE__MOVE_MODE_COLD)
		return lx_job_not_running(job, err);
	r = lx_own_tree_open(job, s->spec, &s->source, err);
	if (r < 0)
		return r;
	struct lx_move_out out = lx_talk_out(&s->m.talk);

	return lx_tree_sender_open(&s->source, &out, &s->tree, err);
}

static int wait_welcome(struct lx_send *s, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame *frame = NULL;
	int r = lx_talk_expect(&s->m.talk, LXMGR__V1__MOVE_FRAME__WHAT_WELCOME, &frame, err);

	if (r == 0) {
		s->other.memory_ahead = frame->welcome->memory_ahead;
		s->other.memory_after = frame->welcome->memory_after;
		s->other.v1_cgroups = frame->welcome->v1_cgroups;
		s->other.lxcfs = frame->welcome->lxcfs;
		s->other.snapshots = frame->welcome->snapshots;
		s->other.files_ahead = frame->welcome->files_ahead;
		s->other.policy = frame->welcome->policy;
		s->other.dump_again = frame->welcome->dump_again;
		s->m.talk.pack.able = frame->welcome->packed;
	}
	lx_pb_free(frame);
	lx_move_phase(&s->m, "welcome");
	return r;
}

static int go(struct lx_send *s, struct lx_err *err)
{
	int r = open_source(s, err);

	if (r == 0)
		r = wait_welcome(s, err);
	if (r == 0)
		r = lx_send_snapshots(s, err);
	if (r == 0 && s->mode == LIVE) {
		r = lx_send_live_plan(s, err);
		if (r == 0)
			r = send_files_ahead(s, err);
		if (r == 0)
			r = lx_send_live(s, err);
	} else if (r == 0) {
		r = send_standing(s, err);
	}
	if (r == 0)
		r = commit(s, err);
	return r;
}

/* The journal first: who asks for the outcome must hear it before the guest moves again. */
static void give_up(struct lx_send *s, struct lx_err *why)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_move_record_abort(s->m.job->state_dir, s->m.rec, why, &err) < 0)
		lx_err_wrap(why, "%s; then", err.msg);
	lx_talk_fail(&s->m.talk, why);
	lx_send_live_back(s, why);
}

static void release(struct lx_send *s)
{
	lx_tree_sender_free(s->tree);
	lx_own_tree_close(&s->source);
	lx_dump_release(&s->dump);
	lx_memory_release(&s->memory);
	lx_traffic_release(&s->traffic);
	lx_map_release(&s->dump_sent);
	lx_roll_release(&s->roll);
	lx_spec_free(s->spec);
	lx_move_release(&s->m);
}

int lx_job_send(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	struct lx_send s = { .source = LX_OWN_TREE_NONE,
			     .dump = LX_DUMP_NONE,
			     .mode = job->msg->send->mode,
			     .began_ns = lx_now_monotonic_ns() };
	lx_map_init(&s.dump_sent, free);
	int r = lx_move_init(&s.m, job, job->msg->send->operation, err);

	if (r < 0) {
		lx_move_release(&s.m);
		return r;
	}
	lx_move_tell_sent(&s.m);
	r = go(&s, err);
	if (r < 0 && !s.committed) {
		give_up(&s, err);
		release(&s);
		return r;
	}
	s.committed_ns = lx_now_monotonic_ns();
	/* Nothing of it runs here any more; its files stay until the other node has said "done". */
	if (s.mode == LIVE) {
		lx_send_live_after(&s);
		lx_send_live_end(&s);
	}
	r = wait_done(&s, err);
	if (r == 0) {
		s.m.report->total_ns = (int64_t)(lx_now_monotonic_ns() - s.began_ns);
		s.m.report->finished_at_ns = (int64_t)lx_now_realtime_ns();
		s.m.report->bytes_sent = s.m.talk.sent;
		/* Freed by the end of the process. */
		result->move = LX_PB_DUP(Lxmgr__V1__MoveReport, s.m.report);
	}
	release(&s);
	return r;
}
