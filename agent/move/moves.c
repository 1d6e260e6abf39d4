/*
 * The journal of moves in memory, by operation. Read at start; the files are written before
 * anything is acted upon, by the agent or by the worker that is at it.
 *
 * What an agent finds when it starts:
 *
 *   source       RUNNING     the worker has gone, or has taken all back: mend, ABORTED
 *   source       ABORTED     with a dump, or to be started: it was not mended yet
 *   source       COMMITTED   ask the destination until it is done, then remove it here
 *   source       DONE        with files: they were not all removed yet
 *   destination  RUNNING     ABORTED; the directory has no spec.pb and is swept
 *   destination  READY       ask the source; its word decides
 *   destination  COMMITTED   finish: restore it from what is kept, or boot it
 *   others                   settled; kept for who may still ask
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/move/move.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "migration/criu_kill.h"
#include "migration/dump_dir.h"

/* A record that nobody has asked to forget is forgotten by itself. */
#define KEEP_NS (7ull * 86400 * LX_NSEC_PER_SEC)
/* For a CRIU that takes back what it has restored. */
#define PATIENCE_MS 5000

#define STATE(s)    LXMGR__V1__MOVE_STATE__MOVE_STATE_##s
#define SOURCE      LXMGR__V1__MOVE_ROLE__MOVE_ROLE_SOURCE
#define DESTINATION LXMGR__V1__MOVE_ROLE__MOVE_ROLE_DESTINATION

static void free_move(struct lx_agent_move *m)
{
	lx_move_ask_stop(m);
	lx_move_unwatch_all(m);
	lx_relay_close(m->relay, NULL);
	if (m->channel)
		lx_channel_close(m->channel);
	lx_move_record_free(m->rec);
	free(m);
}

struct lx_agent_move *lx_move_find(struct lx_agent *a, const char *operation)
{
	return lx_map_get(&a->moves, operation);
}

bool lx_move_settled(const struct lx_agent_move *m)
{
	return m->rec->state == STATE(DONE) || m->rec->state == STATE(ABORTED);
}

static int add(struct lx_agent *a, lx_move_record *rec, struct lx_agent_move **ret, struct lx_err *err)
{
	struct lx_agent_move *m = calloc(1, sizeof(*m));

	if (!m || lx_map_set(&a->moves, rec->operation, m) < 0) {
		free(m);
		lx_move_record_free(rec);
		return lx_err_oom(err);
	}
	m->agent = a;
	m->rec = rec;
	TAILQ_INIT(&m->watchers);
	*ret = m;
	return 0;
}

int lx_move_add(struct lx_agent *a, lx_move_record *rec, struct lx_agent_move **ret, struct lx_err *err)
{
	rec->updated_at_ns = (int64_t)lx_now_realtime_ns();
	int r = lx_move_record_save(a->state_dir, rec, err);

	if (r < 0) {
		lx_move_record_free(rec);
		return r;
	}
	return add(a, rec, ret, err);
}

int lx_move_reload(struct lx_agent_move *m, struct lx_err *err)
{
	lx_move_record *rec = NULL;
	int r = lx_move_record_load(m->agent->state_dir, m->rec->operation, &rec, err);

	if (r < 0)
		return r;
	lx_move_record_free(m->rec);
	m->rec = rec;
	return 0;
}

void lx_move_abort(struct lx_agent_move *m, const struct lx_err *why)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_move_settled(m) || m->rec->state == STATE(COMMITTED))
		return;
	if (lx_move_record_abort(m->agent->state_dir, m->rec, why, &err) < 0)
		lx_error("cannot write the journal of a move", "operation=%s error=\"%s\"", m->rec->operation,
			 err.msg);
}

void lx_move_forget(struct lx_agent_move *m)
{
	struct lx_agent *a = m->agent;
	struct lx_err err = LX_ERR_INIT;

	lx_dump_dir_remove(a->run_dir, m->rec->operation);
	if (lx_move_record_remove(a->state_dir, m->rec->operation, &err) < 0)
		lx_warn("cannot forget a move", "operation=%s error=\"%s\"", m->rec->operation, err.msg);
	lx_map_take(&a->moves, m->rec->operation);
	free_move(m);
}

/* ------------------------------------------------------------------ at start */

/*
 * The agent before us ended after it had given up, and before the guest ran on: there is a dump,
 * or a near-live move has stopped it.
 */
static bool is_unmended(const struct lx_agent_move *m)
{
	return m->rec->role == SOURCE && m->rec->state == STATE(ABORTED) &&
	       (m->rec->start || lx_dump_dir_exists(m->agent->run_dir, m->rec->operation));
}

static void read_one(struct lx_agent *a, const char *operation)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_agent_move *m;
	lx_move_record *rec = NULL;

	if (lx_move_record_load(a->state_dir, operation, &rec, &err) < 0 || add(a, rec, &m, &err) < 0) {
		lx_error("cannot read the journal of a move", "operation=%s error=\"%s\"", operation,
			 err.msg);
		return;
	}
	m->resumed = true;
	if (rec->role == DESTINATION && rec->state == STATE(RUNNING)) {
		lx_err_set(&err, LX_ABORTED, "the agent of node %s ended while it received %s", a->node,
			   rec->instance);
		lx_move_abort(m, &err);
	}
	if (rec->role == DESTINATION && rec->state == STATE(ABORTED))
		lx_criu_end(a->run_dir, operation, PATIENCE_MS);
	if (lx_move_settled(m) && !is_unmended(m)) {
		lx_dump_dir_remove(a->run_dir, operation);
		if ((uint64_t)rec->updated_at_ns + KEEP_NS < lx_now_realtime_ns())
			lx_move_forget(m);
	}
}

int lx_moves_load(struct lx_agent *a, struct lx_err *err)
{
	lx_autofree char *dir = lx_path_join(a->state_dir, LX_MOVES_DIR);
	lx_autoclosedir DIR *d = dir ? opendir(dir) : NULL;

	lx_map_init(&a->moves, NULL);
	TAILQ_INIT(&a->expecting);
	if (!dir)
		return lx_err_oom(err);
	if (!d)
		return errno == ENOENT ? 0 : lx_err_errno(err, errno, "cannot read %s", dir);
	for (struct dirent *e; (e = readdir(d));) {
		size_t n = strlen(e->d_name);

		if (!lx_ends_with(e->d_name, ".pb") || e->d_name[0] == '.')
			continue;
		e->d_name[n - strlen(".pb")] = '\0';
		if (lx_move_operation_check(e->d_name, NULL) == 0)
			read_one(a, e->d_name);
	}
	return 0;
}

void lx_moves_close(struct lx_agent *a)
{
	for (struct lx_map_entry *e; (e = lx_map_first(&a->moves));)
		free_move(lx_map_take(&a->moves, lx_map_key(e)));
	lx_map_release(&a->moves);
}

/* A settled move of a run of the instance that has ended since is of no interest: it may have come back. */
static bool is_under_way(const struct lx_agent_move *m, const struct lx_instance *inst)
{
	if (m->task || !lx_streq(m->rec->instance, inst->name) || m->rec->state == STATE(EXPECTED))
		return false;
	if (!lx_move_settled(m))
		return true;
	return m->rec->role == SOURCE && m->rec->generation == inst->spec->generation &&
	       (m->rec->state == STATE(DONE) || is_unmended(m));
}

static struct lx_agent_move *find_under_way(const struct lx_instance *inst)
{
	for (struct lx_map_entry *e = lx_map_first(&inst->agent->moves); e; e = lx_map_next(e))
		if (is_under_way(lx_map_value(e), inst))
			return lx_map_value(e);
	return NULL;
}

bool lx_move_resume(struct lx_instance *inst)
{
	struct lx_agent_move *m = find_under_way(inst);
	struct lx_err err = LX_ERR_INIT;
	struct lx_task *t;

	if (!m)
		return false;
	/* One that has not been committed here has no specification of its own yet. */
	if (m->rec->role == DESTINATION && m->rec->spec &&
	    lx_instance_set_spec(inst, m->rec->spec, &err) < 0) {
		lx_error("cannot go on with a move", "instance=%s error=\"%s\"", inst->name, err.msg);
		return false;
	}
	const struct lx_verb *verb = m->rec->role == SOURCE ? &lx_verb_send : &lx_verb_receive;

	if (lx_task_new(inst, verb, m->rec->operation, &t, &err) < 0) {
		lx_error("cannot go on with a move", "instance=%s error=\"%s\"", inst->name, err.msg);
		return false;
	}
	t->move = m;
	m->task = t;
	lx_task_begin(t);
	return true;
}

/* ------------------------------------------------------------------ forgetting */

void lx_move_end_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentEndMoveRequest *req = (const void *)msg;
	struct lx_agent_move *m = lx_move_find(arg, req->operation);
	struct lx_err err = LX_ERR_INIT;

	if (!m) {
		lx_call_failf(call, LX_NOT_FOUND, "there is no such move on this node");
		return;
	}
	m->peer_removed |= req->peer_removed;
	if (m->rec->state == STATE(EXPECTED) && !m->task) {
		lx_err_set(&err, LX_CANCELLED, "the manager has given it up");
		lx_move_abort(m, &err);
	}
	if (!lx_move_settled(m) || m->task) {
		lx_err_set(&err, LX_FAILED_PRECONDITION, "the move of %s is not settled: it is %s",
			   m->rec->instance, lx_move_state_name(m->rec->state));
		lx_call_fail(call, &err);
		return;
	}
	lx_move_reply_status(m, call);
	lx_move_forget(m);
}
