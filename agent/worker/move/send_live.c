/*
 * The live part of a source: from a running guest to one that the destination holds ready.
 *
 * What needs no standing guest is done before it is frozen: CRIU is started and waits, services
 * are put in order, slow parts of the network's state are read, memory is copied (memory.h). Then
 *
 *      freeze, cut off from the bridge
 *      CRIU seizes it and dumps into memory; meanwhile
 *        cgroups, links, addresses, routes         -> guest
 *        files that changed since                  -> entry ...
 *        what CRIU has closed                      -> dump_file, dump_data
 *      the rest of it                              -> dump_file, dump_data, dump_end
 *      CRIU's links, if it has made any            -> entry ..., tree_end(last)
 *      ...                                         <- ready
 */
#include "agent/worker/move/send.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/worker/instance/instance.h"
#include "agent/worker/move/policy.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "migration/affinity.h"
#include "migration/cgroups.h"
#include "migration/criu.h"
#include "migration/dump_dir.h"
#include "migration/drain.h"
#include "migration/dumpable.h"
#include "migration/lxcfs_mounts.h"
#include "migration/net.h"
#include "migration/quiesce.h"
#include "migration/securityfs.h"
#include "migration/socket_options.h"
#include "migration/sockets.h"
#include "proto/pb.h"

/* How often a guest is let go on for a moment, for 5 ms first and then for longer. */
#define FREEZES_MAX 20u
#define GO_ON_MS    5u
/* From which time on those are held who write to what is read meanwhile, and how long. */
#define DRAIN_FROM 3u
#define DRAIN_MS   10000u
/* How often it is dumped when CRIU meets what passes: each time the guest stands still for nothing. */
#define DUMPS_MAX 4u

/* ------------------------------------------------------------------ the guest's state */

static int send_guest(struct lx_send *s, Lxmgr__V1__GuestState *guest, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	lx_autofree pid_t *pids = NULL;
	size_t n = 0;
	int r = lx_move_pids(&s->m, &pids, &n, err);

	if (r == 0)
		r = lx_affinity_save(s->run.init, pids, n, guest, err);
	if (r == 0)
		r = lx_socket_options_save(s->run.init, pids, n, guest, err);
	if (r == 0)
		r = lx_cgroups_save(s->m.payload, guest, err);
	if (r == 0)
		r = lx_net_save(s->run.init, s->spec->n_nics, s->spec->nics, guest->network, err);
	if (r < 0)
		return r;
	guest->init_pid = s->run.init;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_GUEST;
	frame.guest = guest;
	return lx_talk_send(&s->m.talk, &frame, err);
}

static int save_ahead(struct lx_send *s, Lxmgr__V1__GuestState **ret, struct lx_err *err)
{
	Lxmgr__V1__GuestState *guest = malloc(sizeof(*guest));
	Lxmgr__V1__GuestNetwork *net = malloc(sizeof(*net));
	char policy[LX_APPARMOR_NAMESPACE_MAX];

	if (!guest || !net) {
		free(guest);
		free(net);
		return lx_err_oom(err);
	}
	lxmgr__v1__guest_state__init(guest);
	lxmgr__v1__guest_network__init(net);
	guest->network = net;
	*ret = guest;
	lx_policy_find(s->m.job, policy);
	if (lx_pb_set(&guest->policy_namespace, policy) < 0)
		return lx_err_oom(err);
	return lx_net_save_ahead(s->run.init, net, err);
}

/* Numbers for the report, and which files to compare block by block. */
static int look_at_processes(struct lx_send *s, struct lx_err *err)
{
	lx_autofree pid_t *pids = NULL;
	size_t n = 0;
	unsigned sockets = 0;
	int r = lx_move_pids(&s->m, &pids, &n, err);

	if (r == 0)
		r = lx_tree_sender_mapped_by(s->tree, pids, n, err);
	if (r == 0 && lx_sockets_count(s->run.init, &sockets, NULL) == 0)
		s->m.report->sockets = sockets;
	s->m.report->processes = (uint32_t)n;
	return r;
}

/* ------------------------------------------------------------------ standing still */

/* What cannot be found out, CRIU will tell. */
static enum lx_dumpable dumpable(const pid_t *pids, size_t n)
{
	enum lx_dumpable is = LX_DUMPABLE;

	return lx_dumpable(pids, n, &is, NULL) < 0 ? LX_DUMPABLE : is;
}

static void hold_writers(struct lx_send *s, const pid_t *pids, size_t n, struct lx_drain *drain)
{
	struct lx_err why = LX_ERR_INIT;

	if (lx_drain_begin(drain, s->run.init, pids, n, &why) < 0)
		lx_warn("cannot hold who writes to a log", "instance=%s error=\"%s\"", s->m.job->name,
			why.msg);
}

/* All go on; but who writes without a pause to what is never read to its end is held until it is. */
static int go_on(struct lx_send *s, unsigned i, enum lx_dumpable is, struct lx_drain *drain,
		 struct lx_err *err)
{
	lx_autofree pid_t *pids = NULL;
	size_t n = 0;
	bool wait = is == LX_DUMPABLE_UNREAD && i >= DRAIN_FROM && !s->unread_stays &&
		    lx_move_pids(&s->m, &pids, &n, NULL) == 0;

	lx_drain_end(drain);
	if (wait)
		hold_writers(s, pids, n, drain);
	int r = lx_cgroup_freeze(&s->m.cg, s->m.job, false, err);

	if (r < 0)
		return r;
	if (!wait) {
		usleep(GO_ON_MS * 1000 << (i < 4 ? i : 4));
		return 0;
	}
	lx_move_progress(&s->m, "drain", 0, 0);
	s->unread_stays = !lx_drain_wait(pids, n, DRAIN_MS);
	lx_move_phase(&s->m, "drain");
	return 0;
}

/* Who was in the middle of something gets the time to end it. */
static int freeze_dumpable(struct lx_send *s, struct lx_drain *drain, struct lx_err *err)
{
	for (unsigned i = 0;; i++) {
		lx_autofree pid_t *pids = NULL;
		size_t n = 0;

		s->frozen_ns = lx_now_monotonic_ns();
		s->m.mark_ns = s->frozen_ns;
		int r = lx_cgroup_freeze(&s->m.cg, s->m.job, true, err);

		if (r < 0 || i == FREEZES_MAX || lx_move_pids(&s->m, &pids, &n, NULL) < 0)
			return r;
		enum lx_dumpable is = dumpable(pids, n);

		if (is == LX_DUMPABLE)
			return 0;
		r = go_on(s, i, is, drain, err);
		if (r < 0)
			return r;
	}
}

static int freeze(struct lx_send *s, struct lx_err *err)
{
	s->frozen = true;
	lx_move_progress(&s->m, "freeze", 0, 0);
	struct lx_drain drain = { .child = 0 };
	int r = freeze_dumpable(s, &drain, err);

	lx_drain_end(&drain);
	(void)lx_traffic_hold(&s->traffic, s->spec->n_nics, s->spec->nics, NULL);
	if (r == 0)
		r = lx_net_unplug(s->spec->n_nics, s->spec->nics, err);
	if (r == 0)
		r = lx_quiesce(s->run.init, s->m.payload, true, err);
	lx_move_phase(&s->m, "freeze");
	return r;
}

/* Memory is read after the dump: it must not change from then on, whatever becomes of CRIU. */
static int hold(struct lx_send *s, struct lx_err *err)
{
	lx_move_hold(s->m.payload, true);
	s->held = true;
	return lx_dump_check(&s->m, &s->dump, err);
}

/* CRIU gives files that have no name any more another one (--link-remap), and says so in an image. */
static int send_last_files(struct lx_send *s, struct lx_err *err)
{
	lx_autofree char *remaps = lx_path_join(s->m.images, LX_CRIU_REMAPS);

	if (!remaps)
		return lx_err_oom(err);
	if (access(remaps, F_OK) == 0)
		return lx_send_files(s, true, err);
	lx_move_progress(&s->m, "last files", s->m.talk.sent, 0);
	return lx_tree_send_end(s->tree, err);
}

/* What can be done beside CRIU, which goes by itself up to where it is waited for. */
static int send_beside(struct lx_send *s, Lxmgr__V1__GuestState *guest, struct lx_err *err)
{
	int r = send_guest(s, guest, err);

	lx_move_phase(&s->m, "guest");
	if (r == 0)
		r = look_at_processes(s, err);
	return r < 0 ? r : lx_tree_send_walk(s->tree, true, err);
}

static int keep_policy(const struct lx_send *s, const char *namespace, struct lx_err *err)
{
	lx_autofree pid_t *pids = NULL;
	size_t n = 0;

	if (lx_str_empty(namespace))
		return 0;
	int r = lx_move_pids(&s->m, &pids, &n, err);

	return r == 0 ? lx_policy_keep(namespace, s->m.dir, pids, n, err) : r;
}

/* While CRIU stops them: until it has, it has changed none. */
static int call_the_roll(struct lx_send *s, struct lx_err *err)
{
	lx_autofree pid_t *pids = NULL;
	size_t n = 0;
	int r = lx_move_pids(&s->m, &pids, &n, err);

	lx_roll_release(&s->roll);
	return r == 0 ? lx_roll_take(pids, n, &s->roll, err) : r;
}

static int standing(struct lx_send *s, Lxmgr__V1__GuestState *guest, struct lx_err *err)
{
	uint64_t ahead = s->memory.bytes, images = s->m.report->memory_bytes,
		 before = lx_tree_sender_stats(s->tree)->bytes_sent;
	int r = freeze(s, err);

	if (r == 0)
		r = keep_policy(s, guest->policy_namespace, err);
	if (r == 0 && s->memory.on)
		r = lx_memory_stand(&s->memory, err);
	if (r == 0) {
		lx_dump_go(&s->m, &s->dump, lx_send_dump_ahead, s);
		r = call_the_roll(s, err);
	}
	if (r == 0) {
		r = lx_dump_seized(&s->m, &s->dump, err);
	}
	lx_move_phase(&s->m, "seize");
	if (r == 0)
		r = send_beside(s, guest, err);
	if (r == 0)
		r = lx_dump_wait(&s->m, &s->dump, err);
	lx_move_phase(&s->m, "dump");
	if (r == 0)
		r = hold(s, err);
	if (r == 0)
		r = lx_send_dump(s, err);
	lx_move_phase(&s->m, "send-dump");
	if (r < 0)
		return r;
	s->m.report->memory_frozen_bytes = s->m.report->memory_bytes - images + s->memory.bytes - ahead;
	s->m.report->memory_bytes += s->memory.bytes;
	s->m.report->rounds = s->memory.rounds;
	r = send_last_files(s, err);
	s->m.report->file_frozen_bytes = lx_tree_sender_stats(s->tree)->bytes_sent - before;
	lx_move_phase(&s->m, "last-files");
	return r;
}

/* One rung lower, and the report says why. */
static void not_after(struct lx_memory *mem)
{
	char before[LX_MEMORY_REASON_MAX];

	snprintf(before, sizeof(before), "%s", mem->why);
	snprintf(mem->why, sizeof(mem->why),
		 "no post-copy: the destination has no userfaultfd, or an older version; %.160s", before);
}

int lx_send_live_plan(struct lx_send *s, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__MemoryAhead ahead = LXMGR__V1__MEMORY_AHEAD__INIT;
	bool postcopy = s->m.job->msg->send->postcopy;
	int r = lx_memory_plan(&s->m, s->spec, s->run.init, s->other.files_ahead,
			       postcopy && s->other.memory_after, &s->memory, err);

	if (r == 0 && postcopy && !s->other.memory_after)
		not_after(&s->memory);
	/* An older version takes the dump alone. */
	if (!s->other.memory_ahead && s->memory.on) {
		s->memory.on = false;
		snprintf(s->memory.why, sizeof(s->memory.why), "the destination's version takes none ahead");
	}
	if (r < 0 || !s->memory.on)
		return r;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_MEMORY_AHEAD;
	ahead.after = s->memory.after;
	frame.memory_ahead = &ahead;
	return lx_talk_send(&s->m.talk, &frame, err);
}

static int wait_ready(struct lx_send *s, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame *frame = NULL;
	int r = lx_send_expect(s, LXMGR__V1__MOVE_FRAME__WHAT_READY, &frame, err);

	lx_pb_free(frame);
	return r;
}

/* What of the node's it has mounted. Nothing is touched yet. */
static int find_mounts(const struct lx_send *s, bool policy, struct lx_criu_mounts *ret, struct lx_err *err)
{
	lx_automounts struct lx_mounts mounts = { 0 };
	int r = lx_mounts_read(s->run.init, &mounts, err);

	if (r < 0)
		return r;
	ret->lxcfs = lx_lxcfs_mounted(&mounts);
	ret->securityfs = lx_securityfs_mounted(&mounts);
	if ((!ret->lxcfs || s->other.lxcfs) && (!policy || s->other.policy))
		return 0;
	r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s has %s, which the agent of node %s cannot restore",
		       s->m.job->name,
		       ret->lxcfs && !s->other.lxcfs ? "files of lxcfs" : "AppArmor profiles of its own",
		       s->m.rec->peer);
	lx_err_hint(err, "Upgrade lxagentd there, or move it with a short stop, --live=off.");
	return r;
}

static int say_how(struct lx_send *s, struct lx_err *err)
{
	s->m.report->memory = s->memory.after ? LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_POST_COPY
			      : s->memory.on  ? s->memory.how
					      : LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_STOP_AND_COPY;
	return lx_pb_set(&s->m.report->memory_reason, s->memory.why) < 0 ? lx_err_oom(err) : 0;
}

/* From the running guest to its dump, whole and sent. */
static int dump_it(struct lx_send *s, struct lx_err *err)
{
	Lxmgr__V1__GuestState *guest = NULL;
	struct lx_criu_mounts mounts = { 0 };
	struct lx_err why = LX_ERR_INIT;
	int r = lx_dump_dir_make(s->m.job->run_dir, s->m.operation, false, err);

	s->dir = r == 0;
	if (r == 0)
		r = lx_quiesce(s->run.init, s->m.payload, false, err);
	if (r == 0)
		r = look_at_processes(s, err);
	if (r == 0)
		r = save_ahead(s, &guest, err);
	if (r == 0)
		r = find_mounts(s, *guest->policy_namespace, &mounts, err);
	if (r == 0)
		r = lx_dump_start(&s->m, s->run.init, s->memory.on, s->other.v1_cgroups, &mounts, &s->dump,
				  err);
	lx_move_phase(&s->m, "prepare");
	if (r == 0 && s->memory.on) {
		r = lx_memory_ahead(&s->memory, err);
		lx_move_phase(&s->m, "memory");
	}
	if (r == 0 && lx_traffic_open(s->spec->n_nics, s->spec->nics, &s->traffic, &why) < 0)
		lx_warn("what is sent to a guest while it moves will be lost", "instance=%s error=\"%s\"",
			s->m.job->name, why.msg);
	lx_warm_file_locks(&s->file_locks);
	if (r == 0)
		r = standing(s, guest, err);
	lx_warm_stop(&s->file_locks);
	lx_pb_free(guest);
	return r;
}

int lx_send_live(struct lx_send *s, struct lx_err *err)
{
	int r = say_how(s, err);

	if (r == 0)
		r = dump_it(s, err);
	while (r < 0 && s->dump.passes && s->other.dump_again && s->m.report->dumps_failed + 1 < DUMPS_MAX) {
		r = lx_send_live_again(s, err);
		if (r == 0)
			r = dump_it(s, err);
	}
	if (r < 0 && s->dump.passes && s->m.report->dumps_failed > 0)
		lx_err_wrap(err, "%u times", s->m.report->dumps_failed + 1);
	if (r == 0)
		r = wait_ready(s, err);
	lx_move_phase(&s->m, "ready");
	return r;
}
