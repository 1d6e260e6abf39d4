/*
 * The live part of a destination: CRIU's restore, through liblxc, held and driven at its steps.
 *
 *      stand-in                liblxc is ready; CRIU waits for files and dump
 *      -- freeze at the source -------------------------------------------------------
 *                              the guest's own cgroups below the payload's, which liblxc has made:
 *                              CRIU leaves alone what it finds when it begins
 *      setup-namespaces        empty network namespace: cards, addresses, routes
 *      post-setup-namespaces   cgroup knobs, limits, the journal
 *      post-restore            all is there, cards in no bridge; files in tmpfs: READY; waits for COMMIT
 *      -- commit -----------------------------------------------------------------
 *      pre-resume              frozen, before CRIU lets go of it
 *      post-resume             host ends into their bridges; what came for it meanwhile; thawed
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/worker/instance/instance.h"
#include "agent/worker/lxcfs.h"
#include "agent/worker/move/policy.h"
#include "agent/worker/move/receive.h"
#include "agent/worker/move/refill.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/affinity.h"
#include "migration/cgroups.h"
#include "migration/criu.h"
#include "migration/criu_kill.h"
#include "migration/lxcfs_mounts.h"
#include "migration/keepalives.h"
#include "migration/managers.h"
#include "migration/net.h"
#include "migration/pressure.h"
#include "migration/securityfs.h"
#include "migration/socket_options.h"
#include "migration/traffic.h"
#include "proto/pb.h"

#define STEP_TIMEOUT_MS 120000
#define LOOK_MS         500
/* From when a part of it has gone until liblxc's worker has said so. */
#define END_TIMEOUT_MS 2000
/* For CRIU to kill what it has made, and liblxc to hear of it. */
#define UNDO_TIMEOUT_MS 20000
#define LOG_MAX         (4u << 20)
#define GUEST_MAX       (4u << 20)

/* ------------------------------------------------------------------ what CRIU does not carry */

static void guest_path(const struct lx_receive *rx, char out[LX_JOB_PATH_MAX + 16])
{
	snprintf(out, LX_JOB_PATH_MAX + 16, "%s/guest.pb", rx->m.dir);
}

int lx_guest_keep(const struct lx_receive *rx, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX + 16];
	size_t len = 0;
	lx_autofree uint8_t *data = lx_pb_pack(&rx->guest->base, &len);

	guest_path(rx, path);
	return data ? lx_write_file_atomic(path, data, len, 0600, err) : lx_err_oom(err);
}

int lx_guest_find(struct lx_receive *rx, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX + 16];
	lx_autobuf struct lx_buf data = { 0 };

	guest_path(rx, path);
	int r = lx_read_file(path, GUEST_MAX, &data, err);

	if (r < 0)
		return r;
	rx->guest = lxmgr__v1__guest_state__unpack(NULL, data.len, data.data);
	return rx->guest ? 0 : lx_err_set(err, LX_DATA_LOSS, "%s is damaged", path);
}

/* ------------------------------------------------------------------ steps */

/* Before CRIU goes on, and while it does: what the step after that finds done. */

static int on_namespaces(struct lx_receive *rx, struct lx_err *err)
{
	rx->init = rx->held.init;
	/* Before it forks, and before its view of cgroups has a root: all of them are born there. */
	return lx_cgroup_adopt(&rx->m.cg, rx->m.job, rx->init, err);
}

/* CRIU puts mounts in order meanwhile, and comes to sockets after its next step. */
static int load_network(struct lx_receive *rx, struct lx_err *err)
{
	/* Without the sample all is set, which takes longer. */
	(void)lx_net_load_prune(rx->guest->network, &rx->fresh, NULL);
	int r = lx_net_load(rx->init, rx->guest->network, rx->spec->n_nics, rx->spec->nics, err);

	if (r == 0)
		lx_voice_bind(&rx->voice, rx->spec->n_nics, rx->spec->nics);
	return r;
}

static int load_knobs(struct lx_receive *rx, struct lx_err *err)
{
	int r = lx_cgroups_load_knobs(rx->m.payload, rx->guest, err);

	if (r == 0)
		r = lx_instance_limits_apply(rx->m.job, &rx->m.cg, rx->spec, err);
	return r < 0 ? r : lx_receive_is_ready(rx, err);
}

/*
 * CRIU holds all its processes where they will go on, and then lets them go: it does not leave them frozen,
 * as the groups are ours (criu.c). A guest that ran before its cards are plugged in would talk to nobody,
 * and a restored TCP socket, which knows no round trip, says again what was lost a whole second later.
 */
static int on_resuming(struct lx_receive *rx, struct lx_err *err)
{
	return lx_cgroup_freeze(&rx->m.cg, rx->m.job, true, err);
}

/* What came for it: at the source before COMMIT, here after that. */
static void deliver(struct lx_receive *rx)
{
	Lxmgr__V1__MoveCommit *here = lx_traffic_end(&rx->traffic);

	if (rx->word)
		(void)lx_traffic_deliver(rx->spec->n_nics, rx->spec->nics, rx->word, NULL);
	if (here)
		(void)lx_traffic_deliver(rx->spec->n_nics, rx->spec->nics, here, NULL);
	lx_pb_free(here);
}

void lx_restore_reload_managers(const struct lx_receive *rx)
{
	lx_autofree pid_t *pids = NULL;
	size_t n = 0;

	if (lx_move_pids(&rx->m, &pids, &n, NULL) == 0 && lx_managers_reload(pids, n) > 0)
		(void)lx_keepalives_put_off(pids, n);
}

static int on_resumed(struct lx_receive *rx, struct lx_err *err)
{
	/*
	 * Not before CRIU has done its part: what the guest's kernel has acknowledged, a restore from the
	 * images, should this one fail, would not know of. Now there is no way back to them.
	 */
	int r = lx_net_plug(rx->spec->n_nics, rx->spec->nics, err);

	deliver(rx);
	lx_restore_reload_managers(rx);
	lx_voice_listen(&rx->voice);
	if (r == 0)
		r = lx_cgroup_freeze(&rx->m.cg, rx->m.job, false, err);
	lx_receive_thawed(rx);
	lx_lazy_thawed(&rx->lazy);
	lx_traffic_release(&rx->traffic);
	lx_move_progress(&rx->m, "thawed", 0, 0);
	return r;
}

static const struct {
	const char *action, *phase;
	int (*before)(struct lx_receive *rx, struct lx_err *err);
	int (*meanwhile)(struct lx_receive *rx, struct lx_err *err);
} steps[] = {
	{ "pre-restore", "criu-start", NULL, NULL },
	{ "setup-namespaces", "restore-namespaces", on_namespaces, load_network },
	{ "post-setup-namespaces", "restore-network", NULL, load_knobs },
	{ "network-unlock", "unlock", NULL, NULL },
	{ "pre-resume", "sockets", on_resuming, NULL },
	{ "post-resume", "resume", on_resumed, NULL },
};

/* Does what belongs to the step that is held, and lets it go on: see the table. */
static int do_step(struct lx_receive *rx, struct lx_err *err)
{
	size_t i = 0;

	while (i < LX_ARRAY_SIZE(steps) && !lx_streq(steps[i].action, rx->held.action))
		i++;
	if (i == LX_ARRAY_SIZE(steps)) {
		lx_hook_answer(&rx->held, 0);
		return 0;
	}
	lx_move_phase(&rx->m, steps[i].phase);
	int r = steps[i].before ? steps[i].before(rx, err) : 0;

	lx_hook_answer(&rx->held, r < 0 ? 1 : 0);
	return r == 0 && steps[i].meanwhile ? steps[i].meanwhile(rx, err) : r;
}

/* `waited`: CRIU did no more than that, and had nothing to say. */
static int explain(struct lx_receive *rx, bool waited, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX + 32], doing[LX_NAME_MAX + 32];
	lx_autobuf struct lx_buf log = { 0 };
	struct lx_err why = LX_ERR_INIT;

	/* What liblxc's worker says comes second: CRIU knows the cause. */
	int r = lx_instance_job_wait(&rx->restore, NULL, &why);

	snprintf(path, sizeof(path), "%s/" LX_CRIU_RESTORE_LOG, rx->m.images);
	snprintf(doing, sizeof(doing), "restore %s", rx->m.job->name);
	if (lx_read_file(path, LOG_MAX, &log, NULL) == 0 && (log.len > 0 || waited))
		return lx_criu_explain(lx_buf_str(&log), doing, err);
	if (r == 0)
		return lx_err_set(err, LX_INTERNAL, "the restore of %s ended before it was done",
				  rx->m.job->name);
	if (err)
		*err = why;
	return r;
}

/*
 * Steps are done as they come, until `action` is held; with NULL until the instance worker has
 * ended (its report is left for lx_instance_job_wait()).
 */
static int steps_until(struct lx_receive *rx, const char *action, struct lx_err *err)
{
	int waited = 0;

	for (;;) {
		struct pollfd p[] = { { .fd = rx->hooks, .events = POLLIN },
				      { .fd = rx->restore.sock, .events = POLLIN },
				      { .fd = rx->late ? rx->m.talk.fd : -1, .events = POLLIN },
				      { .fd = rx->late ? rx->lazy.keeper : -1, .events = POLLIN } };
		int n = poll(p, LX_ARRAY_SIZE(p), LOOK_MS);

		if (n < 0 && errno == EINTR)
			continue;
		/* What CRIU waits for then, in the guest's place, never comes. */
		if (n == 0 && lx_lazy_failed(&rx->m, &rx->lazy, err))
			return -ECHILD;
		if (n == 0 && (waited += LOOK_MS) < STEP_TIMEOUT_MS)
			continue;
		if (n <= 0)
			return lx_err_set(err, LX_DEADLINE_EXCEEDED, "CRIU has made no step for %d s",
					  STEP_TIMEOUT_MS / 1000);
		if (p[0].revents) {
			int r = lx_hooks_take(rx->hooks, &rx->held, err);

			waited = 0;
			if (r == 1 && action && lx_streq(rx->held.action, action))
				return 0;
			if (r == 1)
				r = do_step(rx, err);
			if (r < 0)
				return r;
		} else if (p[1].revents) {
			return action ? explain(rx, false, err) : 0;
		} else {
			/* Who waits for it may be who CRIU waits for. */
			int r = p[3].revents ? lx_late_want(rx, err) : 0;

			if (r == 0 && p[2].revents)
				r = lx_late_hear(rx, err);
			if (r < 0)
				return r;
		}
	}
}

/* ------------------------------------------------------------------ beginning */

/* The stand-in is another process, of liblxc's making: the job lies where it can read it. */
static int keep_job(const struct lx_receive *rx, Lxmgr__V1__WorkerJob *msg, struct lx_err *err)
{
	Lxmgr__V1__WorkerContext context = LXMGR__V1__WORKER_CONTEXT__INIT;
	size_t len = 0;

	lx_job_context(rx->m.job, &context);
	msg->context = &context;
	lx_autofree uint8_t *data = lx_pb_pack(&msg->base, &len);

	msg->context = NULL;
	return data ? lx_write_file_atomic(msg->restore->job_file, data, len, 0600, err) : lx_err_oom(err);
}

static int link_stand_in(const struct lx_receive *rx, const char *dir, struct lx_err *err)
{
	lx_autofree char *worker = lx_path_join(rx->m.libexec, "lx-instance-worker");
	lx_autofree char *name = lx_path_join(dir, "criu");
	int r = worker && name ? lx_mkdir_p(dir, 0700, err) : lx_err_oom(err);

	if (r < 0)
		return r;
	(void)unlink(name);
	return symlink(worker, name) < 0 ? lx_err_errno(err, errno, "cannot make %s", name) : 0;
}

/* What it has of lxcfs's it gets from this node's, whatever its configuration says of the next start. */
static int add_lxcfs(const struct lx_receive *rx, struct lx_buf *options, struct lx_err *err)
{
	const char *dir = rx->m.job->lxcfs_dir;
	struct lx_lxcfs l = { .serves = false };

	if (*dir)
		lx_lxcfs_ask_soon(dir, &l);
	return lx_lxcfs_restore_options(dir, l.serves ? l.files : 0, options, err);
}

static int start(struct lx_receive *rx, struct lx_err *err)
{
	Lxmgr__V1__WorkerJob msg = LXMGR__V1__WORKER_JOB__INIT;
	Lxmgr__V1__RestoreJob restore = LXMGR__V1__RESTORE_JOB__INIT;
	lx_autofree char *criu = lx_criu_find(rx->m.libexec),
			 *hook = lx_path_join(rx->m.libexec, "lx-criu-hook");
	lx_autofree char *programs = lx_path_join(rx->m.dir, "bin"),
			 *tools = lx_path_join(rx->m.libexec, LX_CRIU_TOOLS),
			 *socket = lx_path_join(rx->m.dir, "hook"),
			 *job_file = lx_path_join(rx->m.dir, "restore.pb"),
			 *yard = lx_path_join(rx->m.dir, "yard"),
			 *copies = lx_path_join(rx->m.dir, LX_SHARED_COPIES);
	lx_autobuf struct lx_buf options = { 0 };

	if (!criu) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "there is no CRIU on the destination");

		lx_err_hint(err, "Install " LX_CRIU_VERSION_MIN " or newer there: scripts/install-criu");
		return r;
	}
	if (!hook || !programs || !tools || !socket || !job_file || !yard || !copies)
		return lx_err_oom(err);
	(void)unlink(copies); /* of a worker that is no more */
	int r = lx_move_yard(&rx->m, yard, err);

	if (r == 0)
		r = lx_criu_restore_options(rx->m.cgroup, yard, rx->lazy.on, &options, err);
	if (r == 0)
		r = add_lxcfs(rx, &options, err);
	if (r == 0)
		r = lx_securityfs_restore_options(&options, err);

	restore.images = rx->m.images;
	restore.criu = criu;
	restore.programs = programs;
	restore.tools = tools;
	restore.hook = hook;
	restore.hook_socket = socket;
	restore.options = (char *)(uintptr_t)lx_buf_str(&options);
	restore.job_file = job_file;
	restore.started_at_ns = rx->m.rec->started_at_ns;
	msg.spec = (lx_spec *)(uintptr_t)rx->spec;
	msg.job_case = LXMGR__V1__WORKER_JOB__JOB_RESTORE;
	msg.restore = &restore;
	if (r == 0)
		r = link_stand_in(rx, programs, err);
	if (r == 0)
		r = keep_job(rx, &msg, err);
	if (r == 0)
		r = lx_hooks_open(socket, &rx->hooks, err);
	if (r == 0 && rx->lazy.on)
		r = lx_lazy_start(&rx->m, &rx->lazy, err);
	return r < 0 ? r : lx_instance_job_start(&rx->m, &msg, &rx->restore, err);
}

int lx_restore_prepare(struct lx_receive *rx, struct lx_err *err)
{
	int r = start(rx, err);

	lxmgr__v1__guest_network__init(&rx->fresh);
	(void)lx_net_load_ahead(&rx->fresh, NULL);
	lx_traffic_release(&rx->traffic); /* of a restore before this one */
	(void)lx_traffic_open(rx->spec->n_nics, rx->spec->nics, &rx->traffic, NULL);
	lx_voice_release(&rx->voice);
	lx_voice_open(rx->spec->n_nics, &rx->voice);
	if (r == 0)
		r = steps_until(rx, "stand-in", err);
	lx_move_phase(&rx->m, "prepare-restore");
	if (r < 0)
		lx_restore_undo(rx);
	return r;
}

void lx_restore_hurry(struct lx_receive *rx)
{
	lx_autofree char *monitor = lx_asprintf("%s/../monitor", rx->m.payload);

	if (monitor)
		lx_warm_cgroups(monitor, &rx->cgroups);
}

/* All threads are there, and none has run yet. */
static void load_what_criu_has_not(const struct lx_receive *rx)
{
	lx_autofree pid_t *pids = NULL;
	size_t n = 0;

	if (lx_move_pids(&rx->m, &pids, &n, NULL) < 0)
		return;
	(void)lx_affinity_load(pids, n, rx->guest);
	(void)lx_socket_options_load(pids, n, rx->guest);
}

/* They go when CRIU has been killed while it waited, and that is what is to be told then. */
static int load_cgroups(struct lx_receive *rx, struct lx_err *err)
{
	struct pollfd p = { .fd = rx->restore.sock, .events = POLLIN };
	struct lx_err why = LX_ERR_INIT;
	int r = lx_cgroups_load(rx->m.payload, rx->guest, &why);

	if (r < 0 && poll(&p, 1, END_TIMEOUT_MS) > 0)
		return explain(rx, true, err);
	if (r < 0 && err)
		*err = why;
	return r;
}

int lx_restore_begin(struct lx_receive *rx, struct lx_err *err)
{
	int r = lx_policy_accept(rx->m.job, rx->spec, rx->guest->policy_namespace, rx->m.images, err);

	if (r == 0)
		r = load_cgroups(rx, err);
	if (r == 0)
		r = lx_dump_adapt(rx, err);
	lx_copies_ready(&rx->copies, &rx->m, rx->dump_dir);
	if (r == 0 && rx->lazy.on)
		lx_lazy_go(&rx->m, &rx->lazy);
	lx_hook_answer(&rx->held, r < 0 ? 1 : 0);
	lx_cgroup_hurry(&rx->m.cg, rx->m.job, rx->restore.pid);
	if (r == 0)
		r = steps_until(rx, "post-restore", err);
	if (r == 0)
		r = lx_refill(&rx->m, rx->dump_dir, rx->init, err);
	if (r == 0)
		load_what_criu_has_not(rx);
	if (r == 0 && rx->lazy.on)
		r = lx_lazy_restored(&rx->m, &rx->lazy, err);
	lx_move_phase(&rx->m, "restore");
	if (r < 0)
		lx_restore_undo(rx);
	return r;
}

void lx_restore_settle(const struct lx_receive *rx)
{
	lx_autofree pid_t *pids = NULL;
	struct lx_run run;
	size_t n = 0;

	if (lx_move_pids(&rx->m, &pids, &n, NULL) == 0)
		(void)lx_pressure_rearm(pids, n, NULL, NULL);
	if (lx_run_load(rx->m.job, &run, NULL) == 1)
		(void)lx_worker_send_started(rx->m.job->report, run.monitor, -1, NULL);
}

void lx_restore_let_go(struct lx_receive *rx)
{
	lx_hook_answer(&rx->held, 0);
}

int lx_restore_finish(struct lx_receive *rx, struct lx_err *err)
{
	lx_restore_let_go(rx);
	int r = steps_until(rx, NULL, err);

	lx_warm_stop(&rx->cgroups);
	if (r == 0)
		r = lx_instance_job_wait(&rx->restore, NULL, err);
	lx_move_phase(&rx->m, "monitor");
	if (r == 0)
		lx_restore_settle(rx);
	if (r == 0)
		r = lx_late_take_all(rx, err);
	if (r == 0 && rx->lazy.on) {
		r = lx_lazy_wait(&rx->m, &rx->lazy, err);
		lx_move_phase(&rx->m, "memory-in-place");
	}
	return r;
}

/* CRIU may come to more steps on its way out: all are refused. Returns how long it may take to go. */
static int refuse_steps(struct lx_receive *rx)
{
	struct pollfd p[] = { { .fd = rx->hooks, .events = POLLIN },
			      { .fd = rx->restore.sock, .events = POLLIN } };

	while (poll(p, LX_ARRAY_SIZE(p), UNDO_TIMEOUT_MS) > 0 && !p[1].revents)
		if (lx_hooks_take(rx->hooks, &rx->held, NULL) == 1)
			lx_hook_answer(&rx->held, 1);
	return p[1].revents ? UNDO_TIMEOUT_MS : 0;
}

void lx_restore_undo(struct lx_receive *rx)
{
	/* CRIU would wait for ever for memory that does not come, or for processes that are killed here. */
	bool waits = rx->late || rx->lazy.n > 0;

	lx_warm_stop(&rx->cgroups);
	/* First: a guest without its memory must not run when nobody holds it back any more. */
	if (waits)
		(void)lx_instance_wipe(rx->m.job, &rx->m.cg, NULL);
	lx_hook_answer(&rx->held, 1);
	if (rx->restore.pid > 0) {
		int patience_ms = waits ? 0 : refuse_steps(rx);

		lx_lazy_end(&rx->m, &rx->lazy);
		lx_criu_end(rx->m.job->run_dir, rx->m.operation, patience_ms);
		(void)lx_instance_job_wait(&rx->restore, NULL, NULL);
	}
	lx_lazy_end(&rx->m, &rx->lazy);
	(void)lx_instance_wipe(rx->m.job, &rx->m.cg, NULL);
}

int lx_restore_fd(const struct lx_receive *rx)
{
	return rx->restore.sock;
}
