/*
 * The job queue and the life of one worker's job.
 *
 * Happy path: the message is sent to the spare worker, reports arrive on the socket, the
 * last one ends the job, the worker exits and is buried. Ways to fail: the spare has died
 * in the meantime (another one is started); the worker dies before its last report; it
 * takes longer than JOB_PATIENCE_MS (killed). The socket can outlive the worker in the
 * hands of its children, so the end of a worker is what its pidfd says, after everything
 * that is left in the socket was read.
 */
#include "agent/jobs.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/loop.h"
#include "agent/spawn.h"
#include "lib/cleanup.h"
#include "lib/list.h"
#include "lib/log.h"
#include "proto/pb.h"

/* At once; for WORK the rest waits, of the others more are refused. */
static const unsigned class_limits[LX_JOB_CLASSES] = {
	[LX_JOB_WORK] = 8,      [LX_JOB_SESSION] = 512, [LX_JOB_IMAGE] = 4,
	[LX_JOB_TRANSFER] = 64, [LX_JOB_MOVE] = 32,
};

/* Who does them. */
static const enum lx_worker_kind kinds[LX_JOB_CLASSES] = {
	[LX_JOB_WORK] = LX_WORKER_INSTANCE, [LX_JOB_SESSION] = LX_WORKER_INSTANCE,
	[LX_JOB_IMAGE] = LX_WORKER_IMAGE,   [LX_JOB_TRANSFER] = LX_WORKER_IMAGE,
	[LX_JOB_MOVE] = LX_WORKER_MOVE,
};

/* Jobs that wait for their turn. */
#define JOBS_MAX_QUEUED 4096u
/* A job of class WORK takes milliseconds. One that takes this long hangs. */
#define JOB_PATIENCE_MS 120000u
/* After the spare was taken, until the next one is made: the job goes first. */
#define SPARE_DELAY_MS 20u

struct lx_job {
	TAILQ_ENTRY(lx_job) link;
	struct lx_jobs *jobs;
	enum lx_job_class class;
	const char *what; /* static: "start" */
	char subject[72];
	const struct lx_job_events *events; /* NULL: it has ended */
	void *arg;

	Lxmgr__V1__WorkerJob *msg; /* until it is sent */
	struct lx_worker_fds fds;

	struct lx_spawned worker;
	struct lx_fdwatch *on_report, *on_exit;
	struct lx_timer *patience;
	bool impatient;
};

TAILQ_HEAD(job_list, lx_job);

struct lx_jobs {
	uv_loop_t *loop;
	struct lx_jobs_options opt;
	struct lx_spawned zygote; /* pid 0: there is none */
	struct lx_fdwatch *on_zygote_exit;
	struct lx_spawned spare;
	struct lx_timer *spare_timer;
	struct job_list queued;
	struct job_list running; /* also those that ended and wait for their worker's exit */
	unsigned n_queued;
	unsigned active[LX_JOB_CLASSES];
	bool closing;
};

static const struct {
	Lxmgr__V1__WorkerJob__JobCase job;
	const char *what;
} names[] = {
	{ LXMGR__V1__WORKER_JOB__JOB_START, "start" },
	{ LXMGR__V1__WORKER_JOB__JOB_STOP, "stop" },
	{ LXMGR__V1__WORKER_JOB__JOB_PROBE, "look at" },
	{ LXMGR__V1__WORKER_JOB__JOB_CLEANUP, "clean up" },
	{ LXMGR__V1__WORKER_JOB__JOB_FREEZE, "freeze or unfreeze" },
	{ LXMGR__V1__WORKER_JOB__JOB_LIMITS, "update" },
	{ LXMGR__V1__WORKER_JOB__JOB_EXEC, "run a command in" },
	{ LXMGR__V1__WORKER_JOB__JOB_CONSOLE_LOG, "read the log of" },
	{ LXMGR__V1__WORKER_JOB__JOB_PUSH, "write files of" },
	{ LXMGR__V1__WORKER_JOB__JOB_PULL, "read files of" },
	{ LXMGR__V1__WORKER_JOB__JOB_DELETE_FILE, "delete files of" },
	{ LXMGR__V1__WORKER_JOB__JOB_CREATE, "create" },
	{ LXMGR__V1__WORKER_JOB__JOB_DESTROY, "delete" },
	{ LXMGR__V1__WORKER_JOB__JOB_SEND, "move" },
	{ LXMGR__V1__WORKER_JOB__JOB_RECEIVE, "receive" },
	{ LXMGR__V1__WORKER_JOB__JOB_MEND, "mend" },
	{ LXMGR__V1__WORKER_JOB__JOB_CHECK_MOVE, "check" },
	{ LXMGR__V1__WORKER_JOB__JOB_CREATE_SNAPSHOT, "take a snapshot of" },
	{ LXMGR__V1__WORKER_JOB__JOB_RESTORE_SNAPSHOT, "restore a snapshot of" },
	{ LXMGR__V1__WORKER_JOB__JOB_DELETE_SNAPSHOTS, "delete snapshots of" },
	{ LXMGR__V1__WORKER_JOB__JOB_RENAME_SNAPSHOT, "rename a snapshot of" },
	{ LXMGR__V1__WORKER_JOB__JOB_MEND_SNAPSHOTS, "tidy up after a snapshot of" },
	{ LXMGR__V1__WORKER_JOB__JOB_IMPORT_IMAGE, "import" },
	{ LXMGR__V1__WORKER_JOB__JOB_BUILD_IMAGE, "build" },
	{ LXMGR__V1__WORKER_JOB__JOB_EXPORT_IMAGE, "export" },
	{ LXMGR__V1__WORKER_JOB__JOB_DELETE_IMAGE, "delete" },
	{ LXMGR__V1__WORKER_JOB__JOB_SEND_IMAGE, "send" },
	{ LXMGR__V1__WORKER_JOB__JOB_RECEIVE_IMAGE, "fetch" },
};

static const char *job_name(const Lxmgr__V1__WorkerJob *msg)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++)
		if (names[i].job == msg->job_case)
			return names[i].what;
	return "work on";
}

static void free_job(struct lx_job *job)
{
	lx_fdwatch_stop(job->on_report);
	lx_fdwatch_stop(job->on_exit);
	lx_timer_stop(job->patience);
	lx_spawned_release(&job->worker);
	lx_worker_fds_close(&job->fds);
	lx_pb_free(job->msg);
	free(job);
}

/* ------------------------------------------------------------------ the spare worker */

static void drop_zygote(void *arg, int events)
{
	struct lx_jobs *js = arg;

	lx_fdwatch_drop(&js->on_zygote_exit);
	lx_spawned_discard(&js->zygote);
}

static int make_zygote(struct lx_jobs *js, struct lx_err *err)
{
	int r = lx_spawn_zygote(js->opt.libexec_dir, js->opt.state_dir, &js->zygote, err);

	return r < 0 ? r
		     : lx_fdwatch_start(js->loop, js->zygote.pidfd, UV_READABLE, drop_zygote, js,
					&js->on_zygote_exit, err);
}

/* Out of the zygote; when that has come to harm the program is loaded anew, and another zygote made. */
static int make_instance_worker(struct lx_jobs *js, struct lx_spawned *ret, struct lx_err *err)
{
	struct lx_err why = LX_ERR_INIT;
	int r = 0;

	if (js->zygote.pid == 0)
		r = make_zygote(js, &why);
	if (r == 0 && lx_spawn_from(&js->zygote, ret, &why) == 0)
		return 0;
	lx_warn("no zygote of workers", "error=\"%s\"", why.msg);
	drop_zygote(js, 0);
	return lx_spawn_worker(js->opt.libexec_dir, LX_WORKER_INSTANCE, js->opt.state_dir, ret, err);
}

static void make_spare(void *arg)
{
	struct lx_jobs *js = arg;
	struct lx_err err = LX_ERR_INIT;

	lx_timer_drop(&js->spare_timer);
	if (js->spare.pid == 0 && make_instance_worker(js, &js->spare, &err) < 0)
		lx_warn("no spare worker", "error=\"%s\"", err.msg);
}

static void order_spare(struct lx_jobs *js)
{
	/* Without the timer the next job makes its own worker: slower, nothing worse. */
	if (!js->spare_timer)
		lx_timer_start(js->loop, SPARE_DELAY_MS, 0, make_spare, js, &js->spare_timer, NULL);
}

/* ------------------------------------------------------------------ the end of a job */

static void run_queued(struct lx_jobs *js);

/* Takes the job off its class' count; it stays in `running` until its worker is buried. */
static const struct lx_job_events *end_job(struct lx_job *job)
{
	const struct lx_job_events *events = job->events;

	job->events = NULL;
	lx_timer_drop(&job->patience);
	job->jobs->active[job->class]--;
	return events;
}

static void finish(struct lx_job *job, const struct lx_job_end *end)
{
	struct lx_jobs *js = job->jobs;
	void *arg = job->arg;

	if (!job->events)
		return;
	end_job(job)->done(end, arg);
	run_queued(js);
}

static void fail(struct lx_job *job, const struct lx_err *err, bool crashed)
{
	finish(job, &(struct lx_job_end){ .err = err, .crashed = crashed });
}

static void on_report(struct lx_job *job, const Lxmgr__V1__WorkerReport *report, int fd)
{
	struct lx_err err = LX_ERR_INIT;

	switch (report->what_case) {
	case LXMGR__V1__WORKER_REPORT__WHAT_PROGRESS:
		if (job->events && job->events->progress)
			job->events->progress(report->progress, job->arg);
		break;
	case LXMGR__V1__WORKER_REPORT__WHAT_STARTED:
		if (job->events && job->events->started) {
			job->events->started(report->started->pid, fd, job->arg);
			fd = -1;
		}
		break;
	case LXMGR__V1__WORKER_REPORT__WHAT_RESULT:
		finish(job, &(struct lx_job_end){ .result = report->result, .err = &err });
		break;
	case LXMGR__V1__WORKER_REPORT__WHAT_ERROR:
		lx_worker_error_get(report->error, &err);
		fail(job, &err, false);
		break;
	default: /* of a newer worker */
		break;
	}
	if (fd >= 0)
		close(fd);
}

/* Takes in everything that is in the socket. */
static void read_reports(void *arg, int events)
{
	struct lx_job *job = arg;

	for (;;) {
		struct lx_err err = LX_ERR_INIT;
		Lxmgr__V1__WorkerReport *report = NULL;
		int fd;
		int r = lx_worker_recv_report(job->worker.sock, &report, &fd, &err);

		if (r == -EAGAIN)
			return;
		if (r <= 0) {
			/* Why it ended early is what its exit tells. */
			if (r < 0) {
				lx_err_wrap(&err, "cannot %s %s: lost touch with the worker", job->what,
					    job->subject);
				lx_spawned_kill(&job->worker, SIGKILL);
				fail(job, &err, true);
			}
			lx_fdwatch_drop(&job->on_report);
			return;
		}
		on_report(job, report, fd);
		lx_pb_free(report);
	}
}

static void on_worker_exit(void *arg, int events)
{
	struct lx_job *job = arg;
	struct lx_err err = LX_ERR_INIT;
	char how[LX_SPAWN_TEXT];

	if (job->on_report)
		read_reports(job, 0);
	lx_spawned_reap(&job->worker, how);
	TAILQ_REMOVE(&job->jobs->running, job, link);
	if (job->impatient)
		lx_err_set(&err, LX_DEADLINE_EXCEEDED, "cannot %s %s: the worker made no end within %u s",
			   job->what, job->subject, JOB_PATIENCE_MS / 1000);
	else
		lx_err_set(&err, LX_INTERNAL, "cannot %s %s: the worker %s", job->what, job->subject, how);
	lx_err_hint(&err, "The agent's log may tell more. Trying again is safe.");
	fail(job, &err, true);
	free_job(job);
}

static void on_impatience(void *arg)
{
	struct lx_job *job = arg;

	job->impatient = true;
	lx_spawned_kill(&job->worker, SIGKILL);
}

/* ------------------------------------------------------------------ the beginning */

static int send_job(struct lx_job *job, struct lx_err *err)
{
	struct lx_jobs *js = job->jobs;
	Lxmgr__V1__WorkerContext context = LXMGR__V1__WORKER_CONTEXT__INIT;

	assert(job->msg); /* it is sent once */
	context.state_dir = (char *)(uintptr_t)js->opt.state_dir;
	context.run_dir = (char *)(uintptr_t)js->opt.run_dir;
	context.cgroup_root = (char *)(uintptr_t)js->opt.cgroup_root;
	context.lxc_path = (char *)(uintptr_t)js->opt.lxc_path;
	context.libexec_dir = (char *)(uintptr_t)js->opt.libexec_dir;
	context.lxcfs_dir = (char *)(uintptr_t)js->opt.lxcfs_dir;
	job->msg->context = &context;
	int r = lx_worker_send_job(job->worker.sock, job->msg, &job->fds, err);

	job->msg->context = NULL;
	return r;
}

/* A worker that has the message. */
static int employ(struct lx_job *job, struct lx_err *err)
{
	struct lx_jobs *js = job->jobs;
	enum lx_worker_kind kind = kinds[job->class];

	if (kind == LX_WORKER_INSTANCE && js->spare.pid > 0) {
		job->worker = js->spare;
		js->spare = LX_SPAWNED_NONE;
		order_spare(js);
		struct lx_err ignored = LX_ERR_INIT;

		if (send_job(job, &ignored) == 0)
			return 0;
		lx_spawned_discard(&job->worker); /* somebody ended it while it waited */
	}
	int r = kind == LX_WORKER_INSTANCE
			? make_instance_worker(js, &job->worker, err)
			: lx_spawn_worker(js->opt.libexec_dir, kind, js->opt.state_dir, &job->worker, err);

	if (r < 0)
		return r;
	order_spare(js);
	r = send_job(job, err);
	if (r < 0)
		lx_spawned_discard(&job->worker);
	return r;
}

/* On failure the job is as it was. */
static int begin(struct lx_job *job, struct lx_err *err)
{
	struct lx_jobs *js = job->jobs;
	int r = employ(job, err);

	if (r == 0)
		r = lx_fdwatch_start(js->loop, job->worker.sock, UV_READABLE, read_reports, job,
				     &job->on_report, err);
	if (r == 0)
		r = lx_fdwatch_start(js->loop, job->worker.pidfd, UV_READABLE, on_worker_exit, job,
				     &job->on_exit, err);
	if (r == 0 && job->class == LX_JOB_WORK)
		r = lx_timer_start(js->loop, JOB_PATIENCE_MS, 0, on_impatience, job, &job->patience, err);
	if (r < 0) {
		lx_fdwatch_drop(&job->on_report);
		lx_fdwatch_drop(&job->on_exit);
		lx_spawned_discard(&job->worker);
		lx_err_wrap(err, "cannot %s %s", job->what, job->subject);
		return r;
	}
	lx_worker_fds_close(&job->fds);
	lx_pb_free(job->msg);
	job->msg = NULL;
	js->active[job->class]++;
	TAILQ_INSERT_TAIL(&js->running, job, link);
	return 0;
}

static void run_queued(struct lx_jobs *js)
{
	while (!TAILQ_EMPTY(&js->queued) && js->active[LX_JOB_WORK] < class_limits[LX_JOB_WORK]) {
		struct lx_job *job = TAILQ_FIRST(&js->queued);
		struct lx_err err = LX_ERR_INIT;

		TAILQ_REMOVE(&js->queued, job, link);
		js->n_queued--;
		if (begin(job, &err) < 0) {
			job->events->done(&(struct lx_job_end){ .err = &err }, job->arg);
			free_job(job);
		}
	}
}

static int enqueue(struct lx_job *job, struct lx_err *err)
{
	struct lx_jobs *js = job->jobs;

	if (job->class == LX_JOB_WORK && js->n_queued < JOBS_MAX_QUEUED) {
		TAILQ_INSERT_TAIL(&js->queued, job, link);
		js->n_queued++;
		return 0;
	}
	lx_err_set(err, LX_RESOURCE_EXHAUSTED, "cannot %s %s: %u such jobs are at work on this node",
		   job->what, job->subject, js->active[job->class] + js->n_queued);
	lx_err_hint(err, "Try again when some have ended.");
	return -EBUSY;
}

int lx_job_run(struct lx_jobs *js, enum lx_job_class class, Lxmgr__V1__WorkerJob *msg,
	       struct lx_worker_fds *fds, const struct lx_job_events *events, void *arg, struct lx_job **ret,
	       struct lx_err *err)
{
	struct lx_job *job = msg ? calloc(1, sizeof(*job)) : NULL;

	if (!job || js->closing) {
		free(job);
		lx_pb_free(msg);
		if (fds)
			lx_worker_fds_close(fds);
		return js->closing ? lx_err_set(err, LX_UNAVAILABLE, "the agent is stopping")
				   : lx_err_oom(err);
	}
	*job = (struct lx_job){ .jobs = js,
				.class = class,
				.what = job_name(msg),
				.events = events,
				.arg = arg,
				.msg = msg,
				.worker = LX_SPAWNED_NONE };
	snprintf(job->subject, sizeof(job->subject), "%s", msg->spec ? msg->spec->name : "an image");
	if (fds) {
		job->fds = *fds;
		fds->n = 0;
	}
	int r = js->active[class] < class_limits[class] ? begin(job, err) : enqueue(job, err);

	if (r < 0) {
		free_job(job);
		return r;
	}
	if (ret)
		*ret = job;
	return 0;
}

static ProtobufCMessage *empty_body(Lxmgr__V1__WorkerJob__JobCase what)
{
	/* A case of a oneof is the number of its field. */
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field(&lxmgr__v1__worker_job__descriptor, what);
	const ProtobufCMessageDescriptor *type = field->descriptor;
	ProtobufCMessage *body = malloc(type->sizeof_message);

	if (body)
		protobuf_c_message_init(type, body);
	return body;
}

Lxmgr__V1__WorkerJob *lx_job_message(const Lxmgr__V1__InstanceSpec *spec, Lxmgr__V1__WorkerJob__JobCase what,
				     const ProtobufCMessage *body)
{
	Lxmgr__V1__WorkerJob *msg = malloc(sizeof(*msg));
	ProtobufCMessage *copy = body ? lx_pb_dup(body) : empty_body(what);

	if (!msg || !copy) {
		lx_pb_free(copy);
		free(msg);
		return NULL;
	}
	lxmgr__v1__worker_job__init(msg);
	msg->job_case = what;
	msg->start = (Lxmgr__V1__StartJob *)copy; /* the members of the union are pointers alike */
	if (spec) {
		msg->spec = LX_PB_DUP(Lxmgr__V1__InstanceSpec, spec);
		if (!msg->spec) {
			lx_pb_free(msg);
			return NULL;
		}
	}
	return msg;
}

/* ------------------------------------------------------------------ from outside */

static bool is_queued(const struct lx_job *job)
{
	return job->msg != NULL;
}

void lx_job_kill(struct lx_job *job, int sig)
{
	if (!is_queued(job))
		lx_spawned_kill(&job->worker, sig);
}

void lx_job_abandon(struct lx_job *job)
{
	if (!job)
		return;
	if (is_queued(job)) {
		TAILQ_REMOVE(&job->jobs->queued, job, link);
		job->jobs->n_queued--;
		free_job(job);
		return;
	}
	end_job(job);
	lx_spawned_kill(&job->worker, SIGKILL);
}

int lx_jobs_open(uv_loop_t *loop, const struct lx_jobs_options *opt, struct lx_jobs **ret, struct lx_err *err)
{
	struct lx_jobs *js = calloc(1, sizeof(*js));

	if (!js)
		return lx_err_oom(err);
	js->loop = loop;
	js->opt = *opt;
	js->zygote = js->spare = LX_SPAWNED_NONE;
	TAILQ_INIT(&js->queued);
	TAILQ_INIT(&js->running);
	make_spare(js);
	*ret = js;
	return 0;
}

void lx_jobs_close(struct lx_jobs *js)
{
	if (!js)
		return;
	struct lx_err err = LX_ERR_INIT;
	struct job_list *lists[] = { &js->queued, &js->running };

	js->closing = true;
	lx_err_set(&err, LX_UNAVAILABLE, "the agent is stopping");
	for (size_t i = 0; i < LX_ARRAY_SIZE(lists); i++) {
		struct lx_job *job;

		while ((job = TAILQ_FIRST(lists[i]))) {
			TAILQ_REMOVE(lists[i], job, link);
			if (job->events)
				job->events->done(&(struct lx_job_end){ .err = &err }, job->arg);
			free_job(job);
		}
	}
	lx_timer_stop(js->spare_timer);
	lx_spawned_release(&js->spare);
	lx_fdwatch_stop(js->on_zygote_exit);
	lx_spawned_release(&js->zygote);
	free(js);
}
