/*
 * After a dump, one of three ways: the guest runs on here, because the move is given up or because it is
 * to be dumped once more; or it is the destination's, and nothing of it stays.
 */
#include "agent/worker/move/send.h"

#include <stdlib.h>
#include <unistd.h>

#include "agent/worker/instance/instance.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "migration/dump_dir.h"
#include "migration/net.h"
#include "proto/pb.h"

/* Before the next dump, and twice as long before each after that: what was in the way is to pass. */
#define AGAIN_MS 100u
/* How long it takes until who was struck by the end of a CRIU that was killed has ended. */
#define CASUALTIES_MS 200u
#define LOOK_MS       10u

/* ------------------------------------------------------------------ back */

static void let_go(struct lx_send *s)
{
	if (s->held && lx_dump_is_held(&s->dump))
		lx_move_hold(s->m.payload, false);
	s->held = false;
}

static void deliver_here(struct lx_send *s)
{
	Lxmgr__V1__MoveCommit *held = lx_traffic_end(&s->traffic);

	if (held)
		(void)lx_traffic_deliver(s->spec->n_nics, s->spec->nics, held, NULL);
	lx_pb_free(held);
}

static int take_back(struct lx_send *s, struct lx_err *err)
{
	int r = 0;

	let_go(s);
	lx_dump_back(&s->dump);
	if (s->frozen) {
		r = lx_move_mend(s->m.job, &s->m.cg, s->spec, &s->run, err);
		deliver_here(s);
	}
	lx_memory_back(&s->memory);
	return r;
}

/* Who dies of it does so when it runs; and with its init all of the guest. */
static bool ends(const struct lx_send *s)
{
	for (unsigned ms = 0; ms < CASUALTIES_MS; ms += LOOK_MS) {
		if (!lx_roll_lives(&s->roll, s->run.init))
			return true;
		usleep(LOOK_MS * 1000);
	}
	return !lx_roll_lives(&s->roll, s->run.init);
}

/* For the journal: the agent starts it again, and says so. */
static void note_end(struct lx_send *s)
{
	struct lx_err err = LX_ERR_INIT;

	s->m.rec->start = true;
	if (lx_move_record_save(s->m.job->state_dir, s->m.rec, &err) < 0)
		lx_error("cannot note that a guest has ended", "instance=%s error=\"%s\"", s->m.job->name,
			 err.msg);
}

static void note_missing(struct lx_send *s, struct lx_err *why)
{
	struct lx_err err = LX_ERR_INIT;
	char names[LX_ERR_HINT_MAX / 2];

	if (lx_roll_missing(&s->roll, names, sizeof(names)) == 0)
		lx_err_hint(
			why,
			"All processes of %s go on; what lay unread in a terminal may be lost. Try again.",
			s->m.job->name);
	else
		lx_err_hint(why,
			    "CRIU was killed while it had its hands on the processes of %s. These were lost "
			    "with it, or have ended since: %s. See whether what runs there is well.",
			    s->m.job->name, names);
	if (lx_pb_set(&s->m.rec->hint, why->hint) < 0 ||
	    lx_move_record_save(s->m.job->state_dir, s->m.rec, &err) < 0)
		lx_error("cannot note what a guest has lost", "instance=%s error=\"%s\"", s->m.job->name,
			 err.msg);
}

void lx_send_live_back(struct lx_send *s, struct lx_err *why)
{
	struct lx_err err = LX_ERR_INIT;
	int r = take_back(s, &err);

	if (s->dump.killed && s->roll.n > 0 && ends(s)) {
		note_end(s);
		r = 0; /* of what has ended nothing can be mended */
	} else if (s->dump.killed && s->roll.n > 0) {
		note_missing(s, why);
	}
	if (r < 0)
		lx_error("a source does not come back by itself", "instance=%s error=\"%s\"", s->m.job->name,
			 err.msg);
	if (s->dir)
		lx_dump_dir_remove(s->m.job->run_dir, s->m.operation);
}

/* ------------------------------------------------------------------ once more */

static int note_why(struct lx_send *s, const struct lx_err *why, struct lx_err *err)
{
	Lxmgr__V1__MoveReport *r = s->m.report;

	r->dumps_failed++;
	r->stood_ns += (int64_t)(lx_now_monotonic_ns() - s->frozen_ns);
	return lx_pb_set(&r->dump_reason, why->msg) < 0 ? lx_err_oom(err) : 0;
}

static int say_again(struct lx_send *s, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__DumpAgain nothing = LXMGR__V1__DUMP_AGAIN__INIT;

	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_DUMP_AGAIN;
	frame.dump_again = &nothing;
	return lx_talk_send(&s->m.talk, &frame, err);
}

int lx_send_live_again(struct lx_send *s, struct lx_err *err)
{
	const struct lx_err why = *err;

	*err = LX_ERR_INIT;
	s->dump.passes = false; /* what fails from here on is something else */
	int r = take_back(s, err);

	if (r == 0)
		r = note_why(s, &why, err);
	if (r < 0)
		return r;
	lx_info("a guest goes on and is dumped once more", "instance=%s why=\"%s\"", s->m.job->name, why.msg);
	s->frozen = false;
	s->frozen_ns = 0;
	s->unread_stays = false;
	lx_dump_release(&s->dump);
	lx_traffic_release(&s->traffic);
	lx_map_release(&s->dump_sent);
	lx_map_init(&s->dump_sent, free);
	lx_move_progress(&s->m, "again", 0, 0);
	r = say_again(s, err);
	usleep(AGAIN_MS * 1000 << (s->m.report->dumps_failed - 1));
	lx_move_phase(&s->m, "again");
	return r;
}

/* ------------------------------------------------------------------ gone */

void lx_send_live_after(struct lx_send *s)
{
	struct lx_err err = LX_ERR_INIT;

	if (!s->memory.after)
		return;
	lx_move_progress(&s->m, "memory after", 0, 0);
	if (lx_memory_after(&s->memory, &err) < 0)
		lx_error("memory of a moved instance does not reach it any more", "instance=%s error=\"%s\"",
			 s->m.job->name, err.msg);
	s->m.report->memory_after_bytes = s->memory.late_bytes;
	s->m.report->memory_bytes += s->memory.late_bytes;
	s->m.report->bytes_raw += s->memory.late_bytes;
	lx_move_phase(&s->m, "memory-after");
}

void lx_send_live_end(struct lx_send *s)
{
	struct lx_err err = LX_ERR_INIT;

	(void)lx_net_silence(s->spec->n_nics, s->spec->nics, NULL);
	/* Before CRIU lets go of it: it would only stop it. */
	lx_move_kill(s->m.payload);
	let_go(s);
	lx_dump_end(&s->dump);
	if (lx_instance_wipe(s->m.job, &s->m.cg, &err) < 0)
		lx_warn("a source is not gone at once", "instance=%s error=\"%s\"", s->m.job->name, err.msg);
	lx_move_phase(&s->m, "end-source");
	lx_dump_dir_remove(s->m.job->run_dir, s->m.operation);
}
