/*
 * Snapshots, as this node has them: its part is the files (agent/worker/snapshot/), configuration is the
 * manager's. The state of the instance does not change, but for a restoration, which stops it and leaves
 * it stopped.
 *
 * A worker that dies may leave the instance frozen, or its files half-way between two states: another one
 * finishes or undoes that at once, or when the agent starts the next time.
 */
#include <errno.h>
#include <string.h>

#include "agent/instance/monitor.h"
#include "agent/instance/task.h"
#include "agent/worker/snapshot_dir.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "proto/pb.h"

/* ------------------------------------------------------------------ what was left */

bool lx_snapshots_unfinished(const struct lx_instance *inst)
{
	lx_autofree char *path = lx_instance_path(inst, LX_SNAPSHOT_WORK);

	return path && lx_is_dir(path);
}

static void on_mended(struct lx_task *t, const struct lx_job_end *end)
{
	if (end->err->code != LX_OK)
		lx_error("cannot tidy up after a snapshot", "instance=%s error=\"%s\"", t->inst->name,
			 end->err->msg);
	t->next(t);
}

void lx_snapshots_mend(struct lx_task *t, void (*next)(struct lx_task *t))
{
	struct lx_err err = LX_ERR_INIT;

	t->next = next;
	if (lx_task_job(t, LX_JOB_MOVE,
			lx_job_message(t->inst->spec, LXMGR__V1__WORKER_JOB__JOB_MEND_SNAPSHOTS, NULL),
			on_mended, &err) == 0)
		return;
	lx_error("cannot tidy up after a snapshot", "instance=%s error=\"%s\"", t->inst->name, err.msg);
	next(t);
}

static void look(struct lx_task *t)
{
	const struct lx_err why = t->why;

	lx_task_settle(t, &why);
}

static void on_done(struct lx_task *t, const struct lx_job_end *end)
{
	struct lx_err err = *end->err;

	if (err.code == LX_OK && end->result->snapshot) {
		t->made = LX_PB_DUP(Lxmgr__V1__SnapshotRecord, end->result->snapshot);
		if (!t->made)
			lx_err_oom(&err);
	}
	if (err.code != LX_OK && lx_snapshots_unfinished(t->inst)) {
		t->why = err;
		lx_snapshots_mend(t, look);
		return;
	}
	lx_task_end(t, &err);
}

static int run(struct lx_task *t, Lxmgr__V1__WorkerJob__JobCase what, const ProtobufCMessage *body,
	       struct lx_err *err)
{
	return lx_task_job(t, LX_JOB_MOVE, lx_job_message(t->inst->spec, what, body), on_done, err);
}

/* Not while it is being made, or in a state that a person has to look at. */
static int check_state(const struct lx_task *t, struct lx_err *err)
{
	const struct lx_instance *inst = t->inst;

	if (inst->state == LX_STOPPED || lx_instance_is_up(inst))
		return 0;
	lx_err_set(err, LX_FAILED_PRECONDITION, "%s is %s: nothing can be done with its snapshots now",
		   inst->name, lx_instance_state_name(inst));
	lx_err_hint(err, "lxmgr info %s says more.", inst->name);
	return -EBUSY;
}

/* ------------------------------------------------------------------ create, delete, rename */

static int begin_create(struct lx_task *t, struct lx_err *err)
{
	Lxmgr__V1__CreateSnapshotJob job = LXMGR__V1__CREATE_SNAPSHOT_JOB__INIT;
	int r = check_state(t, err);

	job.operation = t->operation;
	job.name = t->snapshot->snapshot;
	job.n_known = t->snapshot->n_snapshots;
	job.known = t->snapshot->snapshots;
	return r < 0 ? r : run(t, LXMGR__V1__WORKER_JOB__JOB_CREATE_SNAPSHOT, &job.base, err);
}

static int begin_delete(struct lx_task *t, struct lx_err *err)
{
	Lxmgr__V1__DeleteSnapshotsJob job = LXMGR__V1__DELETE_SNAPSHOTS_JOB__INIT;

	job.n_names = t->snapshot->n_snapshots;
	job.names = t->snapshot->snapshots;
	return run(t, LXMGR__V1__WORKER_JOB__JOB_DELETE_SNAPSHOTS, &job.base, err);
}

static int begin_rename(struct lx_task *t, struct lx_err *err)
{
	Lxmgr__V1__RenameSnapshotJob job = LXMGR__V1__RENAME_SNAPSHOT_JOB__INIT;

	job.name = t->snapshot->snapshot;
	job.new_name = t->snapshot->new_name;
	return run(t, LXMGR__V1__WORKER_JOB__JOB_RENAME_SNAPSHOT, &job.base, err);
}

/* ------------------------------------------------------------------ restore */

/* Asked for once more, perhaps after it was started again: what it has written since is not to be lost. */
static bool is_restored(const struct lx_task *t)
{
	lx_autofree char *path = lx_instance_path(t->inst, LX_SNAPSHOT_RESTORED);
	char last[LX_OPERATION_MAX + 1];

	return path && *t->operation && lx_read_line(path, last, sizeof(last)) == 0 &&
	       lx_streq(last, t->operation);
}

static int restore(struct lx_task *t, struct lx_err *err)
{
	Lxmgr__V1__RestoreSnapshotJob job = LXMGR__V1__RESTORE_SNAPSHOT_JOB__INIT;

	job.operation = t->operation;
	job.name = t->snapshot->snapshot;
	return run(t, LXMGR__V1__WORKER_JOB__JOB_RESTORE_SNAPSHOT, &job.base, err);
}

static void restore_stopped(struct lx_task *t)
{
	struct lx_err err = LX_ERR_INIT;

	if (restore(t, &err) < 0)
		lx_task_end(t, &err);
}

static void on_stopped(struct lx_task *t)
{
	lx_instance_move(t->inst, LX_STOPPED, NULL);
	lx_task_store(t, false, restore_stopped);
}

static int begin_restore(struct lx_task *t, struct lx_err *err)
{
	lx_autofree char *there =
		lx_asprintf("%s/%s/" LX_SNAPSHOTS_DIR "/%s/" LX_SNAPSHOT_RECORD,
			    t->inst->agent->instances_dir, t->inst->name, t->snapshot->snapshot);
	int r = check_state(t, err);

	if (r < 0 || is_restored(t))
		return r < 0 ? r : 1;
	if (!there)
		return lx_err_oom(err);
	/* Nothing is stopped for one that is not there. */
	if (!lx_path_exists(there))
		return lx_err_set(err, LX_NOT_FOUND, "%s has no snapshot %s on node %s", t->inst->name,
				  t->snapshot->snapshot, t->inst->agent->node);
	if (t->inst->state == LX_STOPPED)
		return restore(t, err);
	t->force = true;
	lx_task_stop(t, on_stopped);
	return 0;
}

/* ------------------------------------------------------------------ requests */

static void answer(const struct lx_task *t, struct lx_call *call)
{
	Lxmgr__V1__AgentSnapshotResponse resp = LXMGR__V1__AGENT_SNAPSHOT_RESPONSE__INIT;
	struct lx_report report;

	lx_instance_report(t->inst, &report);
	resp.instance = &report.pb;
	resp.snapshot = t->made;
	lx_call_reply(call, &resp.base);
}

static const struct lx_verb verb_create = {
	.name = "snapshot", .doing = "snapshotted", .begin = begin_create, .answer = answer
};
static const struct lx_verb verb_restore = {
	.name = "restore", .doing = "restored", .begin = begin_restore, .answer = answer
};
static const struct lx_verb verb_delete = {
	.name = "delete snapshots of", .doing = "rid of snapshots", .begin = begin_delete, .answer = answer
};
static const struct lx_verb verb_rename = {
	.name = "rename a snapshot of", .doing = "changed", .begin = begin_rename, .answer = answer
};

/* They become parts of paths. */
static int check_names(const struct lx_verb *verb, const Lxmgr__V1__AgentSnapshotRequest *req,
		       struct lx_err *err)
{
	int r = lx_task_check_operation(req->operation, err);

	if (r == 0 && verb != &verb_delete)
		r = lx_name_check("snapshot", req->snapshot, err);
	if (r == 0 && verb == &verb_rename)
		r = lx_name_check("snapshot", req->new_name, err);
	if (r == 0 && req->n_snapshots > LX_SNAPSHOTS_MAX)
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "%zu snapshots are more than %u", req->n_snapshots,
			       LX_SNAPSHOTS_MAX);
	for (size_t i = 0; r == 0 && i < req->n_snapshots; i++)
		r = lx_name_check("snapshot", req->snapshots[i], err);
	return r;
}

static void call_verb(struct lx_agent *a, struct lx_call *call, const ProtobufCMessage *msg,
		      const struct lx_verb *verb)
{
	const Lxmgr__V1__AgentSnapshotRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_task *t = NULL;
	int r = check_names(verb, req, &err);
	struct lx_instance *inst = r == 0 ? lx_instance_find(a, req->name, req->generation, &err) : NULL;

	if (!inst) {
		lx_call_fail(call, &err);
		return;
	}
	r = lx_task_join(inst, call, verb, req->operation, false, &err);
	Lxmgr__V1__AgentSnapshotRequest *copy =
		r == 0 ? LX_PB_DUP(Lxmgr__V1__AgentSnapshotRequest, req) : NULL;

	if (r == 0)
		r = copy ? lx_task_new(inst, verb, req->operation, &t, &err) : lx_err_oom(&err);
	if (r == 0) {
		t->snapshot = copy;
		lx_task_enter(t, call);
		return;
	}
	lx_pb_free(copy);
	if (r < 0)
		lx_call_fail(call, &err);
}

void lx_snapshot_create_call(struct lx_call *call, const ProtobufCMessage *msg, void *agent)
{
	call_verb(agent, call, msg, &verb_create);
}

void lx_snapshot_restore_call(struct lx_call *call, const ProtobufCMessage *msg, void *agent)
{
	call_verb(agent, call, msg, &verb_restore);
}

void lx_snapshot_delete_call(struct lx_call *call, const ProtobufCMessage *msg, void *agent)
{
	call_verb(agent, call, msg, &verb_delete);
}

void lx_snapshot_rename_call(struct lx_call *call, const ProtobufCMessage *msg, void *agent)
{
	call_verb(agent, call, msg, &verb_rename);
}
