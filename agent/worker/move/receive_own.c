/*
 * The instance is this node's: the source has committed. What is held ready is let run; what a worker
 * before this one had begun is gone on with, or restored again from the images.
 *
 * A restore that fails now is no reason to lose the instance: its files are whole, and it is booted
 * from them; the report says so.
 */
#include "agent/worker/move/receive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/worker/instance/instance.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "migration/criu_kill.h"
#include "migration/dump_dir.h"
#include "migration/ghosts.h"
#include "migration/late_pages.h"
#include "migration/net.h"
#include "migration/page_image.h"
#include "proto/pb.h"

#define LIVE      LXMGR__V1__MOVE_MODE__MOVE_MODE_LIVE
#define COMMITTED LXMGR__V1__MOVE_STATE__MOVE_STATE_COMMITTED
#define DONE      LXMGR__V1__MOVE_STATE__MOVE_STATE_DONE

/* For what a killed worker has left at work: a restore of any guest takes less. */
#define LEFT_ALONE_MS 20000ull
#define LOOK_AGAIN_MS 20u

int lx_receive_open_dump(struct lx_receive *rx, bool again, struct lx_err *err)
{
	if (rx->mode != LIVE || rx->dump_dir >= 0)
		return 0;
	int r = lx_dump_dir_make(rx->m.job->run_dir, rx->m.operation, again, err);

	if (r < 0)
		return r;
	rx->dump_dir = open(rx->m.images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return rx->dump_dir < 0 ? lx_err_errno(err, errno, "cannot open %s", rx->m.images) : 0;
}

/* From here on the instance exists on this node, whatever happens. */
static int own(struct lx_receive *rx, struct lx_err *err)
{
	int r = 0;

	rx->committed_ns = lx_now_monotonic_ns();
	/* A worker before this one may have come as far, or to the very end. */
	if (rx->m.rec->state != COMMITTED && rx->m.rec->state != DONE)
		r = lx_move_record_advance(rx->m.job->state_dir, rx->m.rec, COMMITTED, err);
	return r < 0 ? r : lx_spec_save(rx->m.job, rx->spec, err);
}

void lx_receive_thawed(struct lx_receive *rx)
{
	rx->thawed_ns = (int64_t)(lx_now_monotonic_ns() - rx->committed_ns);
	rx->thawed_at_ns = (int64_t)lx_now_realtime_ns();
}

static int start_anew(struct lx_receive *rx, struct lx_err *err)
{
	Lxmgr__V1__WorkerJob msg = LXMGR__V1__WORKER_JOB__INIT;
	Lxmgr__V1__StartJob start = LXMGR__V1__START_JOB__INIT;
	struct lx_instance_job j;

	msg.spec = (lx_spec *)(uintptr_t)rx->spec;
	msg.job_case = LXMGR__V1__WORKER_JOB__JOB_START;
	msg.start = &start;
	int r = lx_instance_job_start(&rx->m, &msg, &j, err);

	if (r == 0)
		r = lx_instance_job_wait(&j, NULL, err);
	lx_receive_thawed(rx);
	lx_move_progress(&rx->m, "thawed", 0, 0);
	return r;
}

/*
 * What a worker before this one has begun may come to its end without it: CRIU asks nobody any
 * more once it has been let go. True when it runs then; else nothing works on it any more.
 */
static bool has_come_through(struct lx_receive *rx)
{
	uint64_t deadline = lx_now_monotonic_ns() + LEFT_ALONE_MS * LX_NSEC_PER_MSEC;
	struct lx_run run;

	for (;;) {
		bool at_work = lx_criu_at_work(rx->m.job->run_dir, rx->m.operation);

		if (lx_run_find(rx->m.job, &run, NULL) == 1)
			return true;
		if (!at_work || lx_now_monotonic_ns() > deadline)
			break;
		usleep(LOOK_AGAIN_MS * 1000);
	}
	lx_criu_end(rx->m.job->run_dir, rx->m.operation, 0);
	(void)lx_instance_wipe(rx->m.job, &rx->m.cg, NULL);
	return false;
}

/* A worker before this one came so far that it runs, or nearly. */
static int go_on(struct lx_receive *rx, struct lx_err *err)
{
	int r = lx_net_plug(rx->spec->n_nics, rx->spec->nics, err);

	lx_restore_reload_managers(rx);
	if (r == 0)
		r = lx_cgroup_freeze(&rx->m.cg, rx->m.job, false, err);
	lx_move_progress(&rx->m, "thawed", 0, 0);
	if (r == 0)
		lx_restore_settle(rx);
	if (r == 0)
		r = lx_lazy_resume(&rx->m, err);
	/* The guest first: it must not find zeros where its memory was. */
	if (r < 0) {
		(void)lx_instance_wipe(rx->m.job, &rx->m.cg, NULL);
		lx_criu_end(rx->m.job->run_dir, rx->m.operation, 0);
	}
	return r;
}

/* A CRIU that was killed did not, and the next one would stumble over them. */
static int remove_ghosts(const struct lx_receive *rx, struct lx_err *err)
{
	char upper[LX_JOB_PATH_MAX], hook[LX_JOB_PATH_MAX + 8];

	lx_job_own_path(rx->m.job, upper, "upper");
	snprintf(hook, sizeof(hook), "%s/hook", rx->m.dir);
	lx_autoclose int root = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return root < 0 ? lx_err_errno(err, errno, "cannot open %s", upper)
			: lx_ghosts_remove(upper, root, hook, err);
}

/* Post-copy: without the source's word that it follows, what is missing is lost. */
static int check_memory(const struct lx_receive *rx, struct lx_err *err)
{
	lx_autoclose int images =
		openat(rx->dump_dir, LX_PAGES_PARENT_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return images < 0 || rx->late || !lx_late_pages_listed(images)
		       ? 0
		       : lx_err_set(err, LX_DATA_LOSS,
				    "the source is gone, and not all memory had come from it");
}

static int restore_again(struct lx_receive *rx, struct lx_err *err)
{
	int r = lx_receive_open_dump(rx, true, err);

	/* For what was restored before; the images are whole then. */
	if (r == 0)
		r = lx_late_take_all(rx, err);
	if (r == 0)
		r = check_memory(rx, err);
	rx->lazy.on = lx_lazy_wanted(&rx->m);
	if (rx->hooks >= 0)
		close(rx->hooks);
	rx->hooks = -1;
	lx_pb_free(rx->guest);
	rx->guest = NULL;
	if (r == 0)
		r = remove_ghosts(rx, err);
	if (r == 0)
		r = lx_guest_find(rx, err);
	if (r == 0)
		r = lx_restore_prepare(rx, err);
	return r < 0 ? r : lx_restore_begin(rx, err);
}

/* `again`: from the images; else what is held ready. */
static int bring_back(struct lx_receive *rx, bool again, struct lx_err *err)
{
	int r = again ? restore_again(rx, err) : check_memory(rx, err);

	return r < 0 ? r : lx_restore_finish(rx, err);
}

static int run_it(struct lx_receive *rx, bool again, struct lx_err *err)
{
	struct lx_err why = LX_ERR_INIT;
	bool runs = again && has_come_through(rx);

	if (!runs && rx->mode != LIVE)
		return rx->m.rec->start ? start_anew(rx, err) : 0;
	int r = runs ? go_on(rx, &why) : bring_back(rx, again, &why);

	/* Until it is thawed nothing has happened that the images do not know. */
	if (r < 0 && !runs && rx->thawed_ns == 0) {
		lx_warn("a moved instance is restored once more", "instance=%s error=\"%s\"", rx->m.job->name,
			why.msg);
		lx_restore_undo(rx);
		why = LX_ERR_INIT;
		r = bring_back(rx, true, &why);
	}
	if (r == 0)
		return 0;
	lx_error("a moved instance could not be restored and is booted from its files",
		 "instance=%s error=\"%s\"", rx->m.job->name, why.msg);
	snprintf(rx->booted, sizeof(rx->booted), "%s", why.msg);
	lx_restore_undo(rx);
	(void)remove_ghosts(rx, NULL);
	return start_anew(rx, err);
}

/* Since it was ready, by the clock of this machine: another worker may have been at it then. */
static int64_t since_ready(const struct lx_receive *rx, int64_t at_ns)
{
	int64_t ready = rx->m.rec->ready_at_ns;

	return ready && at_ns > ready ? at_ns - ready : 0;
}

/* On this machine, by the clock that has also seen the thaw; 0: not yet, or it was booted. */
static int64_t heard_at(const struct lx_receive *rx)
{
	int64_t at = rx->thawed_at_ns && !*rx->booted ? lx_voice_heard_at_ns(&rx->voice) : 0;

	/* The thaw is noted when all run: some may have been quicker. */
	return at && at < rx->thawed_at_ns ? rx->thawed_at_ns : at;
}

/* Kept as well, for a source that does not hear it. */
static int keep_done(struct lx_receive *rx, struct lx_err *err)
{
	Lxmgr__V1__MoveDone done = LXMGR__V1__MOVE_DONE__INIT;

	if (rx->m.rec->done)
		return 0;
	int64_t heard = heard_at(rx);

	done.n_phases = rx->m.report->n_phases;
	done.phases = (Lxmgr__V1__MoveDone__PhasesEntry **)(void *)rx->m.report->phases;
	done.thawed_ns = rx->thawed_ns;
	done.exposed_ns = rx->exposed_ns;
	done.booted = rx->booted;
	done.finished_at_ns = (int64_t)lx_now_realtime_ns();
	done.ready_thawed_ns = since_ready(rx, rx->thawed_at_ns);
	done.heard_ns = heard ? rx->thawed_ns + heard - rx->thawed_at_ns : 0;
	done.ready_heard_ns = since_ready(rx, heard);
	done.ready_done_ns = since_ready(rx, done.finished_at_ns);
	rx->m.rec->done = LX_PB_DUP(Lxmgr__V1__MoveDone, &done);
	return rx->m.rec->done ? 0 : lx_err_oom(err);
}

static void say_done(struct lx_receive *rx)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;

	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_DONE;
	frame.done = rx->m.rec->done;
	(void)lx_talk_send(&rx->m.talk, &frame, NULL);
}

int lx_receive_own(struct lx_receive *rx, bool again, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	struct lx_err why = LX_ERR_INIT;
	struct lx_run run;

	/* With memory missing that never comes it would run into nothing. */
	if (!again && rx->mode == LIVE && check_memory(rx, NULL) == 0)
		lx_restore_let_go(rx);
	(void)lx_traffic_hold(&rx->traffic, rx->spec->n_nics, rx->spec->nics, NULL);
	/* The source does not take it back any more, whatever becomes of this journal. */
	if (rx->mode == LIVE)
		lx_move_progress(&rx->m, "committed", 0, 0);
	int r = own(rx, err);

	if (r < 0)
		return r;
	/* It is here, and complete; that it does not run is told, but is no reason to keep the source. */
	if (run_it(rx, again, &why) < 0)
		lx_error("a moved instance does not start", "instance=%s error=\"%s\"", rx->m.job->name,
			 why.msg);
	/* For a source that does not hear say_done(). */
	if (*rx->booted && rx->m.rec->state != DONE && lx_pb_set(&rx->m.report->booted, rx->booted) == 0) {
		lx_pb_free(rx->m.rec->report);
		rx->m.rec->report = LX_PB_DUP(Lxmgr__V1__MoveReport, rx->m.report);
	}
	r = keep_done(rx, err);
	if (r == 0 && rx->m.rec->state != DONE)
		r = lx_move_record_advance(rx->m.job->state_dir, rx->m.rec, DONE, err);
	if (r < 0)
		return r;
	say_done(rx);
	if (lx_run_find(rx->m.job, &run, NULL) == 1)
		lx_run_tell(&run, result);
	lx_dump_dir_remove(rx->m.job->run_dir, rx->m.operation);
	return 0;
}
