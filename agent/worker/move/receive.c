/*
 * The destination of a move: takes in files and dump, holds a restored guest ready, and makes
 * it this node's when the source has committed.
 *
 * The happy path is migration.h's right column. Ways to fail: before READY anything, and the
 * instance's directory is removed by the agent (it has no spec.pb, so it does not exist). Once
 * READY, the source decides. A conversation that breaks then is the agent's to mend: it asks
 * the source and puts the answer where the source's word would have come. When this worker or
 * its CRIU ends instead, the journal says READY, the images are kept, and the agent has it
 * restored again once it knows the outcome.
 *
 * What comes after COMMIT is in receive_own.c.
 */
#include "agent/worker/move/receive.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "agent/worker/instance/instance.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "migration/dump_dir.h"
#include "proto/pb.h"

#define LIVE  LXMGR__V1__MOVE_MODE__MOVE_MODE_LIVE
#define READY LXMGR__V1__MOVE_STATE__MOVE_STATE_READY

static int say(struct lx_receive *rx, Lxmgr__V1__MoveFrame *frame, struct lx_err *err)
{
	return lx_talk_send(&rx->m.talk, frame, err);
}

/* ------------------------------------------------------------------ taking in */

static int end_pass(struct lx_receive *rx, const Lxmgr__V1__TreeEnd *end, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__MoveSynced synced = LXMGR__V1__MOVE_SYNCED__INIT;
	int r = lx_tree_receive_end(rx->tree, end, err);

	if (r < 0 || end->last)
		return r;
	/* The source goes on running until it hears of this. */
	if (rx->mode == LIVE && rx->restore.pid == 0)
		r = lx_restore_prepare(rx, err);
	if (r < 0)
		return r;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_SYNCED;
	frame.synced = &synced;
	return say(rx, &frame, err);
}

static int take_guest(struct lx_receive *rx, Lxmgr__V1__MoveFrame *frame, struct lx_err *err)
{
	if (rx->guest || !frame->guest->network)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the guest's state came twice, or without a network");
	rx->guest = lx_move_ptr(frame->guest);
	frame->what_case = LXMGR__V1__MOVE_FRAME__WHAT__NOT_SET;
	lx_restore_hurry(rx);
	return lx_guest_keep(rx, err);
}

static int memory_ahead(struct lx_receive *rx, const Lxmgr__V1__MemoryAhead *ahead, struct lx_err *err)
{
	rx->lazy.on = lx_lazy_possible();
	rx->late = ahead->after;
	return rx->lazy.on || !ahead->after
		       ? 0
		       : lx_err_set(err, LX_FAILED_PRECONDITION, "this node cannot take memory by post-copy");
}

/* 1: all is here. */
static int take(struct lx_receive *rx, Lxmgr__V1__MoveFrame *frame, struct lx_err *err)
{
	int r;

	if (rx->snapshot.tree)
		return lx_take_snapshot_frame(rx, frame, err);
	switch (frame->what_case) {
	case LXMGR__V1__MOVE_FRAME__WHAT_SNAPSHOT:
		return lx_take_snapshot(rx, frame->snapshot, err);
	case LXMGR__V1__MOVE_FRAME__WHAT_ENTRY:
	case LXMGR__V1__MOVE_FRAME__WHAT_TREE_DATA:
	case LXMGR__V1__MOVE_FRAME__WHAT_TREE_REMOVE:
		return lx_tree_receive(rx->tree, frame, err);
	case LXMGR__V1__MOVE_FRAME__WHAT_TREE_END:
		r = end_pass(rx, frame->tree_end, err);
		/* The files come last, also of a live move. */
		return r < 0 ? r : frame->tree_end->last;
	default:
		break;
	}
	if (rx->mode == LIVE)
		switch (frame->what_case) {
		case LXMGR__V1__MOVE_FRAME__WHAT_MEMORY_AHEAD:
			return memory_ahead(rx, frame->memory_ahead, err);
		case LXMGR__V1__MOVE_FRAME__WHAT_GUEST:
			lx_move_phase(&rx->m, "until-frozen");
			return take_guest(rx, frame, err);
		case LXMGR__V1__MOVE_FRAME__WHAT_DUMP_FILE:
			return lx_dump_take_file(rx, frame->dump_file, err);
		case LXMGR__V1__MOVE_FRAME__WHAT_DUMP_DATA:
			return lx_dump_take_data(rx, frame->dump_data, err);
		case LXMGR__V1__MOVE_FRAME__WHAT_DUMP_AGAIN:
			return lx_dump_take_again(rx, err);
		case LXMGR__V1__MOVE_FRAME__WHAT_DUMP_END:
			return lx_dump_take_end(rx, frame->dump_end, err);
		default:
			break;
		}
	return lx_err_set(err, LX_INVALID_ARGUMENT, "frame %d does not belong here", (int)frame->what_case);
}

static int take_all(struct lx_receive *rx, struct lx_err *err)
{
	int r = 0;

	while (r == 0) {
		Lxmgr__V1__MoveFrame *frame = NULL;

		r = lx_talk_recv(&rx->m.talk, &frame, err);
		if (r == 0)
			r = take(rx, frame, err);
		lx_pb_free(frame);
	}
	if (r > 0 && rx->mode == LIVE && (!rx->guest || rx->dump_files == 0))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the source ended without a dump");
	lx_move_phase(&rx->m, "receive");
	return r < 0 ? r : 0;
}

/* ------------------------------------------------------------------ ready */

static int take_word(struct lx_receive *rx, struct lx_err *err)
{
	int r = 0;

	while (r == 0 && !rx->word) {
		Lxmgr__V1__MoveFrame *frame = NULL;

		r = lx_talk_recv(&rx->m.talk, &frame, err);
		if (r < 0)
			break;
		if (frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_COMMIT) {
			rx->word = lx_move_ptr(frame->commit);
			frame->what_case = LXMGR__V1__MOVE_FRAME__WHAT__NOT_SET;
		} else {
			/* What CRIU's restore has waited for, or no longer does. */
			r = lx_late_take(rx, frame, err);
		}
		lx_pb_free(frame);
	}
	/* The word comes from the source's agent when the source's is lost, and then nothing follows. */
	rx->late = rx->late && rx->word && rx->word->memory_follows;
	return r;
}

/* The source's word: 0 commit, negative: it gave up, or (-EINTR) our own restore did. */
static int wait_word(struct lx_receive *rx, struct lx_err *err)
{
	struct pollfd p[] = { { .fd = rx->m.talk.fd, .events = POLLIN },
			      { .fd = rx->mode == LIVE ? lx_restore_fd(rx) : -1, .events = POLLIN } };

	while (poll(p, LX_ARRAY_SIZE(p), -1) < 0 && errno == EINTR)
		;
	if (!p[0].revents) {
		lx_err_set(err, LX_ABORTED, "CRIU gave up the restored %s", rx->m.job->name);
		return -EINTR;
	}
	return take_word(rx, err);
}

int lx_receive_is_ready(struct lx_receive *rx, struct lx_err *err)
{
	if (rx->m.rec->state >= READY)
		return 0;
	rx->m.rec->ready_at_ns = (int64_t)lx_now_realtime_ns();
	return lx_move_record_advance(rx->m.job->state_dir, rx->m.rec, READY, err);
}

static int ready(struct lx_receive *rx, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__MoveReady nothing = LXMGR__V1__MOVE_READY__INIT;
	int r = lx_receive_is_ready(rx, err);

	if (r < 0)
		return r;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_READY;
	frame.ready = &nothing;
	/* A source that is gone may have heard nothing, or all: the word decides. */
	(void)say(rx, &frame, NULL);
	return wait_word(rx, err);
}

/* ------------------------------------------------------------------ receiving */

static int open_upper(struct lx_receive *rx, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	int r = lx_instance_make_dirs(rx->m.job, rx->spec, err);

	if (r < 0)
		return r;
	lx_job_own_path(rx->m.job, path, "upper");
	rx->upper = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rx->upper < 0)
		return lx_err_errno(err, errno, "cannot open %s", path);
	return lx_tree_receiver_open(rx->upper, &rx->tree, err);
}

static int receive(struct lx_receive *rx, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__MoveWelcome welcome = LXMGR__V1__MOVE_WELCOME__INIT;
	int r = open_upper(rx, err);

	if (r == 0)
		r = lx_receive_open_dump(rx, false, err);
	if (r < 0)
		return r;
	welcome.version = LX_MOVE_VERSION;
	welcome.memory_ahead = true;
	welcome.v1_cgroups = true;
	welcome.lxcfs = true;
	welcome.snapshots = true;
	welcome.files_ahead = true;
	welcome.policy = true;
	welcome.dump_again = true;
	welcome.packed = true;
	welcome.memory_after = lx_lazy_possible();
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_WELCOME;
	frame.welcome = &welcome;
	r = say(rx, &frame, err);
	lx_move_phase(&rx->m, "begin");
	if (r == 0)
		r = take_all(rx, err);
	if (r == 0 && rx->mode == LIVE)
		r = lx_restore_begin(rx, err);
	return r;
}

/* ------------------------------------------------------------------ life */

static void release(struct lx_receive *rx)
{
	lx_tree_receiver_free(rx->tree);
	lx_take_snapshot_release(&rx->snapshot);
	lx_copies_release(&rx->copies);
	if (rx->upper >= 0)
		close(rx->upper);
	if (rx->dump_dir >= 0)
		close(rx->dump_dir);
	if (rx->dump_file >= 0)
		close(rx->dump_file);
	if (rx->hooks >= 0)
		close(rx->hooks);
	lx_lazy_end(&rx->m, &rx->lazy);
	lx_warm_stop(&rx->cgroups);
	lx_traffic_release(&rx->traffic);
	lx_voice_release(&rx->voice);
	lx_pb_free(rx->guest);
	lx_pb_free(rx->word);
	lx_move_release(&rx->m);
}

/* Before COMMIT, and the source knows, or will hear when it asks. */
static int give_up(struct lx_receive *rx, struct lx_err *why)
{
	struct lx_err err = LX_ERR_INIT;

	if (rx->restore.pid > 0)
		lx_restore_undo(rx);

	if (lx_move_record_abort(rx->m.job->state_dir, rx->m.rec, why, &err) < 0)
		lx_error("cannot write the journal of a move", "error=\"%s\"", err.msg);
	lx_talk_fail(&rx->m.talk, why);
	lx_dump_dir_remove(rx->m.job->run_dir, rx->m.operation);
	return lx_code_errno(why->code);
}

/* CRIU gave up what it held ready. The source may have committed all the same: its word counts. */
static int ready_no_more(struct lx_receive *rx, Lxmgr__V1__WorkerResult *result, struct lx_err *why)
{
	struct lx_err err = LX_ERR_INIT;

	lx_restore_undo(rx);
	lx_talk_fail(&rx->m.talk, why);
	int r = take_word(rx, &err);

	if (r == 0)
		return lx_receive_own(rx, true, result, why);
	/* Without the source's word nothing is given up: the agent asks for it. */
	return r == -ECANCELED ? give_up(rx, why) : lx_code_errno(why->code);
}

static int first_time(struct lx_receive *rx, Lxmgr__V1__WorkerResult *result, struct lx_err *why)
{
	int r = receive(rx, why);

	if (r < 0)
		return give_up(rx, why);
	r = ready(rx, why);
	if (r == 0)
		return lx_receive_own(rx, false, result, why);
	if (rx->m.rec->state != READY)
		return give_up(rx, why);
	if (r == -EINTR)
		return ready_no_more(rx, result, why);
	if (rx->mode == LIVE)
		lx_restore_undo(rx);
	/* Did the source give up? Else it may have committed: journal and images stay until the agent knows.
	 */
	return r == -ECANCELED ? give_up(rx, why) : r;
}

int lx_job_receive(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	const Lxmgr__V1__ReceiveJob *what = job->msg->receive;
	struct lx_receive rx = { .mode = what->mode,
				 .upper = -1,
				 .snapshot = { .dir = -1 },
				 .dump_dir = -1,
				 .dump_file = -1,
				 .lazy = LX_LAZY_NONE,
				 .traffic = LX_TRAFFIC_NONE,
				 .voice = LX_VOICE_NONE,
				 .hooks = -1,
				 .held = { .fd = -1 },
				 .restore = LX_INSTANCE_JOB_NONE };
	int r = lx_move_init(&rx.m, job, what->operation, err);

	if (r == 0) {
		rx.spec = rx.m.rec->spec;
		r = rx.spec ? 0
			    : lx_err_set(err, LX_DATA_LOSS, "the journal of this move has no specification");
		rx.copies.root = rx.spec ? lx_spec_id_base(rx.spec) : 0;
	}
	struct lx_err why = LX_ERR_INIT;

	if (r == 0) {
		r = what->again ? lx_receive_own(&rx, true, result, &why) : first_time(&rx, result, &why);
		if (r < 0 && err)
			*err = why;
	}
	release(&rx);
	return r;
}
