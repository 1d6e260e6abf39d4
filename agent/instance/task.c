/*
 * Tasks: who may begin, who waits, how it ends.
 *
 * Ways to fail: the instance is not here or of another generation; another verb is at work
 * on it; the verb refuses. All are told to the caller at once. Only behind a task of our own
 * (tidying up after an instance that has ended) one request waits for its turn. The end of a
 * task looks after what the instance did by itself meanwhile (lx_monitor_act).
 */
#include "agent/instance/task.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/instance/cards.h"
#include "agent/instance/monitor.h"
#include "agent/loop.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "proto/pb.h"

/* A call that waits for a task's end. Outlives the task until the call has closed. */
struct lx_task_waiter {
	TAILQ_ENTRY(lx_task_waiter) link;
	struct lx_task *task; /* NULL: answered */
	struct lx_call *call;
};

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct lx_task_waiter *w = arg;

	if (w->task)
		TAILQ_REMOVE(&w->task->waiters, w, link);
	free(w);
}

static const struct lx_call_events waiter_events = { .closed = on_closed };

static int wait_for(struct lx_task *t, struct lx_call *call, struct lx_err *err)
{
	struct lx_task_waiter *w = calloc(1, sizeof(*w));

	if (!w)
		return lx_err_oom(err);
	w->task = t;
	w->call = call;
	TAILQ_INSERT_TAIL(&t->waiters, w, link);
	lx_call_set_events(call, &waiter_events, w);
	return 0;
}

/* ------------------------------------------------------------------ beginning */

int lx_task_new(struct lx_instance *inst, const struct lx_verb *verb, const char *operation,
		struct lx_task **ret, struct lx_err *err)
{
	struct lx_task *t = calloc(1, sizeof(*t));

	if (t)
		t->operation = strdup(operation);
	if (!t || !t->operation) {
		free(t);
		return lx_err_oom(err);
	}
	t->inst = inst;
	t->verb = verb;
	TAILQ_INIT(&t->waiters);
	if (inst->task)
		inst->next = t;
	else
		inst->task = t;
	*ret = t;
	return 0;
}

static int refuse_busy(const struct lx_task *t, struct lx_err *err)
{
	const struct lx_instance *inst = t->inst;

	if (*t->operation)
		lx_err_set(err, LX_FAILED_PRECONDITION, "%s is being %s (operation %s)", inst->name,
			   t->verb->doing, t->operation);
	else
		lx_err_set(err, LX_FAILED_PRECONDITION, "%s is being %s", inst->name, t->verb->doing);
	lx_err_hint(err, "Try again when that has ended.");
	return -EBUSY;
}

static void overtake(struct lx_task *t, const struct lx_verb *by)
{
	struct lx_err err = LX_ERR_INIT;

	lx_err_set(&err, LX_ABORTED, "cannot %s %s: a forced %s has overtaken it", t->verb->name,
		   t->inst->name, by->name);
	lx_job_abandon(t->job);
	t->job = NULL;
	lx_task_end(t, &err);
}

int lx_task_join(struct lx_instance *inst, struct lx_call *call, const struct lx_verb *verb,
		 const char *operation, bool force, struct lx_err *err)
{
	/* The one that was asked for: behind one of our own, or at work. */
	struct lx_task *t = inst->next ? inst->next : inst->task;

	if (!t || t->verb->own)
		return 0;
	if (t->verb == verb && *operation && lx_streq(t->operation, operation))
		return wait_for(t, call, err) < 0 ? -ENOMEM : 1;
	if (!t->shutting_down || !verb->overtakes || !force)
		return refuse_busy(t, err);
	overtake(t, verb);
	return 0;
}

void lx_task_begin(struct lx_task *t)
{
	if (t->inst->task != t)
		return; /* when the one before it has ended */
	struct lx_err err = LX_ERR_INIT;
	int r = t->verb->begin(t, &err);

	if (r != 0)
		lx_task_end(t, &err);
}

int lx_task_check_operation(const char *operation, struct lx_err *err)
{
	if (strlen(operation) <= LX_OPERATION_MAX)
		return 0;
	return lx_err_set(err, LX_INVALID_ARGUMENT, "the operation's id has %zu bytes, the limit is %d",
			  strlen(operation), LX_OPERATION_MAX);
}

void lx_task_enter(struct lx_task *t, struct lx_call *call)
{
	struct lx_err err = LX_ERR_INIT;

	/* Without a waiter it is as if the caller had gone away: what was asked for is done. */
	if (wait_for(t, call, &err) < 0)
		lx_call_fail(call, &err);
	lx_task_begin(t);
}

static bool has_ended_well(const struct lx_instance *inst, const struct lx_verb *verb, const char *operation)
{
	return *operation && inst->last_verb == verb && lx_streq(inst->last_operation, operation);
}

static void reply_report(const struct lx_instance *inst, struct lx_call *call)
{
	struct lx_report report;

	lx_instance_report(inst, &report);
	lx_call_reply(call, &report.pb.base);
}

void lx_task_call(struct lx_agent *a, struct lx_call *call, const struct lx_verb *verb,
		  const Lxmgr__V1__AgentInstanceRequest *req)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_task *t = NULL;
	int r = lx_task_check_operation(req->operation, &err);
	struct lx_instance *inst = r == 0 ? lx_instance_find(a, req->name, req->generation, &err) : NULL;

	if (!inst) {
		lx_call_fail(call, &err);
		return;
	}
	r = lx_task_join(inst, call, verb, req->operation, req->force, &err);
	if (r == 0 && has_ended_well(inst, verb, req->operation)) {
		reply_report(inst, call);
		return;
	}
	if (r == 0)
		r = lx_task_new(inst, verb, req->operation, &t, &err);
	if (r < 0)
		lx_call_fail(call, &err);
	if (r != 0)
		return;
	t->force = req->force;
	t->timeout_seconds = req->timeout_seconds;
	lx_task_enter(t, call);
}

/* ------------------------------------------------------------------ steps */

static void on_job_done(const struct lx_job_end *end, void *arg)
{
	struct lx_task *t = arg;

	t->job = NULL;
	t->step(t, end);
}

static void on_job_progress(const Lxmgr__V1__ImageProgress *progress, void *arg)
{
	struct lx_task *t = arg;

	if (t->progress)
		t->progress(t, progress);
}

static void on_job_started(int pid, int fd, void *arg)
{
	struct lx_task *t = arg;

	if (fd >= 0)
		close(fd);
	if (t->started)
		t->started(t, pid);
}

static const struct lx_job_events job_events = { .progress = on_job_progress,
						 .started = on_job_started,
						 .done = on_job_done };

int lx_task_job(struct lx_task *t, enum lx_job_class class, Lxmgr__V1__WorkerJob *msg, lx_task_step step,
		struct lx_err *err)
{
	return lx_task_job_fds(t, class, msg, NULL, step, err);
}

int lx_task_job_fds(struct lx_task *t, enum lx_job_class class, Lxmgr__V1__WorkerJob *msg,
		    struct lx_worker_fds *fds, lx_task_step step, struct lx_err *err)
{
	t->step = step;
	return lx_job_run(t->inst->agent->jobs, class, msg, fds, &job_events, t, &t->job, err);
}

/* ------------------------------------------------------------------ the end */

static void log_end(const struct lx_task *t, const struct lx_err *err)
{
	if (err && err->code != LX_OK)
		lx_warn("instance task failed", "verb=\"%s\" instance=%s operation=%s code=%s error=\"%s\"",
			t->verb->name, t->inst->name, t->operation, lx_code_name(err->code), err->msg);
	else
		lx_info("instance task done", "verb=\"%s\" instance=%s operation=%s state=%s", t->verb->name,
			t->inst->name, t->operation, t->gone ? "gone" : lx_instance_state_name(t->inst));
}

static void answer(struct lx_task *t, const struct lx_err *err)
{
	struct lx_task_waiter *w;

	while ((w = TAILQ_FIRST(&t->waiters))) {
		TAILQ_REMOVE(&t->waiters, w, link);
		w->task = NULL;
		if (err && err->code != LX_OK)
			lx_call_fail(w->call, err);
		else if (t->verb->answer)
			t->verb->answer(t, w->call);
		else
			reply_report(t->inst, w->call);
	}
}

static void remember(struct lx_instance *inst, struct lx_task *t)
{
	if (!*t->operation)
		return;
	free(inst->last_operation);
	inst->last_operation = lx_move_ptr(t->operation);
	inst->last_verb = t->verb;
}

void lx_task_free(struct lx_task *t)
{
	if (!t)
		return;
	lx_timer_stop(t->timer);
	lx_task_store_forget(t->store);
	lx_pb_free(t->spec);
	lx_pb_free(t->snapshot);
	lx_pb_free(t->made);
	lx_pb_strv_free(&t->n_needs_restart, &t->needs_restart);
	free(t->operation);
	free(t);
}

/* The one that waited for a task of our own has its turn, unless the instance keeps us busy. */
static void begin_next(struct lx_instance *inst)
{
	struct lx_task *t = inst->next;

	lx_monitor_act(inst);
	if (inst->task || !t)
		return;
	inst->next = NULL;
	inst->task = t;
	lx_task_begin(t);
}

static void remove_instance(struct lx_instance *inst)
{
	struct lx_task *t = inst->next;
	struct lx_err err = LX_ERR_INIT;

	inst->next = NULL;
	if (t) {
		lx_err_set(&err, LX_NOT_FOUND, "instance %s does not exist any more", inst->name);
		log_end(t, &err);
		if (t->verb->finished)
			t->verb->finished(t);
		answer(t, &err);
		lx_task_free(t);
	}
	lx_cards_gone(inst);
	lx_map_del(&inst->agent->instances, inst->name);
}

void lx_task_end(struct lx_task *t, const struct lx_err *err)
{
	struct lx_instance *inst = t->inst;
	struct lx_agent *a = inst->agent;
	const struct lx_verb *verb = t->verb;
	bool gone = t->gone;

	if (inst->task == t)
		inst->task = NULL;
	else
		inst->next = NULL;
	log_end(t, err);
	if (verb->finished)
		verb->finished(t);
	if (gone)
		lx_watch_instance_removed(a, inst);
	answer(t, err);
	if (!err || err->code == LX_OK)
		remember(inst, t);
	lx_task_free(t);
	if (gone)
		remove_instance(inst);
	else if (!a->stopping)
		begin_next(inst);
	if (verb->ended)
		verb->ended(a);
}
