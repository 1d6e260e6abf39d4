/*
 * Snapshots go along, ahead of everything else: they do not change, so the instance may run on meanwhile.
 *
 *      snapshot, its files, tree_end   ------------>   complete, or not there
 *                                      <------------   synced
 *
 * Each in turn. The source keeps them with the rest of the instance until the destination has said "done".
 * One that would not take them in (it is of an older version) gets nothing at all.
 */
#include <errno.h>
#include <unistd.h>

#include "agent/worker/move/receive.h"
#include "agent/worker/move/send.h"
#include "agent/worker/snapshot/store.h"
#include "lib/cleanup.h"
#include "proto/pb.h"

/* ------------------------------------------------------------------ source */

static int send_files(struct lx_send *s, int files, struct lx_err *err)
{
	const struct lx_tree_source source = {
		.upper = files, .lower = -1, .index = -1, .id_base = lx_spec_id_base(s->spec)
	};
	struct lx_move_out out = lx_talk_out(&s->m.talk);
	struct lx_tree_sender *tree = NULL;
	int r = lx_tree_sender_open(&source, &out, &tree, err);

	if (r == 0)
		r = lx_tree_send(tree, true, err);
	if (tree)
		s->m.report->snapshot_bytes += lx_tree_sender_stats(tree)->bytes_sent;
	lx_tree_sender_free(tree);
	return r;
}

static int send_one(struct lx_send *s, const char *name, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	lx_autoclose int files = lx_snapshot_open(s->m.job, name, err);
	lx_snapshot *rec = NULL;
	int r = files < 0 ? files : lx_snapshot_load(s->m.job, name, &rec, err);

	if (r == 0 && lx_pb_set(&rec->name, name) < 0)
		r = lx_err_oom(err);
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_SNAPSHOT;
	frame.snapshot = rec;
	if (r == 0)
		r = lx_talk_send(&s->m.talk, &frame, err);
	if (r == 0)
		r = send_files(s, files, err);
	lx_pb_free(rec);
	return r < 0 ? r : lx_talk_expect(&s->m.talk, LXMGR__V1__MOVE_FRAME__WHAT_SYNCED, NULL, err);
}

static int refuse(const struct lx_send *s, size_t n, struct lx_err *err)
{
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "node %s runs a version of lxmgr that cannot take in snapshots (%s has %zu)",
			   s->m.rec->peer, s->m.job->name, n);

	lx_err_hint(err, "Bring that node to this one's version, or delete them: lxmgr snapshot list %s",
		    s->m.job->name);
	return r;
}

int lx_send_snapshots(struct lx_send *s, struct lx_err *err)
{
	char **names;
	size_t n;
	int r = lx_snapshot_names(s->m.job, &n, &names, err);

	if (r == 0 && n > 0 && !s->other.snapshots)
		r = refuse(s, n, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		lx_move_progress(&s->m, "snapshots", s->m.talk.sent, 0);
		r = send_one(s, names[i], err);
	}
	s->m.report->snapshots = (uint32_t)n;
	if (n > 0)
		lx_move_phase(&s->m, "snapshots");
	lx_pb_strv_free(&n, &names);
	return r;
}

/* ------------------------------------------------------------------ destination */

int lx_take_snapshot(struct lx_receive *rx, const Lxmgr__V1__SnapshotRecord *rec, struct lx_err *err)
{
	struct lx_receive_snapshot *in = &rx->snapshot;
	int r = lx_name_check("snapshot", rec->name, err);

	if (r == 0 && (in->tree || in->n++ >= LX_SNAPSHOTS_MAX))
		r = lx_err_set(err, LX_INVALID_ARGUMENT,
			       "the source sends snapshots in one another, or more "
			       "than %u",
			       LX_SNAPSHOTS_MAX);
	if (r == 0)
		r = lx_snapshot_begin(rx->m.job, &in->dir, err);
	if (r == 0)
		r = lx_tree_receiver_open(in->dir, &in->tree, err);
	if (r < 0)
		return r;
	in->rec = LX_PB_DUP(Lxmgr__V1__SnapshotRecord, rec);
	return in->rec ? 0 : lx_err_oom(err);
}

static int end_snapshot(struct lx_receive *rx, const Lxmgr__V1__TreeEnd *end, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__MoveSynced synced = LXMGR__V1__MOVE_SYNCED__INIT;
	int r = lx_tree_receive_end(rx->snapshot.tree, end, err);

	if (r == 0)
		r = lx_snapshot_commit(rx->m.job, rx->snapshot.rec, err);
	if (r == 0)
		r = lx_snapshot_work_end(rx->m.job, err);
	lx_take_snapshot_release(&rx->snapshot);
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_SYNCED;
	frame.synced = &synced;
	return r < 0 ? r : lx_talk_send(&rx->m.talk, &frame, err);
}

int lx_take_snapshot_frame(struct lx_receive *rx, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err)
{
	return frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_TREE_END
		       ? end_snapshot(rx, frame->tree_end, err)
		       : lx_tree_receive(rx->snapshot.tree, frame, err);
}

void lx_take_snapshot_release(struct lx_receive_snapshot *in)
{
	lx_tree_receiver_free(in->tree);
	lx_pb_free(in->rec);
	if (in->dir >= 0)
		close(in->dir);
	in->tree = NULL;
	in->rec = NULL;
	in->dir = -1;
}
