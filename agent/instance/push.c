/*
 * Writing to instances: a stream of files, and the deletion of one.
 *
 * A push's first message says where to; the others go to the worker undecoded, each behind
 * its length (worker/frame.h), at the worker's pace: while its socket is full the call is
 * paused. The worker's end of the job is the call's end, also when it comes before the
 * caller has sent all (a full disk).
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "agent/instance/instance.h"
#include "agent/instance/streams.h"
#include "agent/frames.h"
#include "agent/pump.h"
#include "lxmgr/v1/stream.pb-c.h"
#include "proto/frame.h"
#include "proto/pb.h"

/* A chunk of data, or an entry with two paths; and what protobuf adds. */
#define MESSAGE_MAX (LX_FRAME_CHUNK + 16 * 1024)

struct transfer {
	struct lx_agent *agent;
	struct lx_call *call; /* NULL: the caller has gone */
	struct lx_job *job;   /* NULL: not begun, or ended */
	bool begun;
	struct lx_sink *sink; /* push only */
	const ProtobufCMessage *(*answer)(const Lxmgr__V1__WorkerResult *result);
};

static void maybe_free(struct transfer *t)
{
	if (t->call || t->job)
		return;
	lx_sink_close(t->sink);
	free(t);
}

static void fail(struct transfer *t, const struct lx_err *err)
{
	if (t->call)
		lx_call_fail(t->call, err);
}

static void on_done(const struct lx_job_end *end, void *arg)
{
	struct transfer *t = arg;

	t->job = NULL;
	if (end->err->code != LX_OK)
		fail(t, end->err);
	else if (t->call)
		lx_call_reply(t->call, t->answer(end->result));
	maybe_free(t);
}

static const struct lx_job_events job_events = { .done = on_done };

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct transfer *t = arg;

	t->call = NULL;
	lx_sink_close(t->sink);
	t->sink = NULL;
	if (t->job)
		lx_job_kill(t->job, SIGTERM);
	maybe_free(t);
}

static int run(struct transfer *t, const char *instance, Lxmgr__V1__WorkerJob__JobCase what,
	       const ProtobufCMessage *body, struct lx_worker_fds *fds, struct lx_err *err)
{
	struct lx_instance *inst = lx_instance_find(t->agent, instance, 0, err);
	int r = inst ? lx_instance_need_running(inst, err) : -ENOENT;

	if (r < 0) {
		lx_worker_fds_close(fds);
		return r;
	}
	return lx_job_run(t->agent->jobs, LX_JOB_SESSION, lx_job_message(inst->spec, what, body), fds,
			  &job_events, t, &t->job, err);
}

static struct transfer *new_transfer(struct lx_agent *a, struct lx_call *call,
				     const ProtobufCMessage *(*answer)(const Lxmgr__V1__WorkerResult *result),
				     const struct lx_call_events *events)
{
	struct transfer *t = calloc(1, sizeof(*t));

	if (!t) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return NULL;
	}
	*t = (struct transfer){ .agent = a, .call = call, .answer = answer };
	lx_call_set_events(call, events, t);
	return t;
}

/* ------------------------------------------------------------------ push */

static const ProtobufCMessage *push_answer(const Lxmgr__V1__WorkerResult *result)
{
	static const Lxmgr__V1__PushFileResponse none = LXMGR__V1__PUSH_FILE_RESPONSE__INIT;

	return result->push ? &result->push->base : &none.base;
}

static void on_drained(void *arg)
{
	struct transfer *t = arg;

	if (t->call)
		lx_call_resume(t->call);
}

static const struct lx_sink_events sink_events = { .drained = on_drained };

static int begin_push(struct transfer *t, const Lxmgr__V1__PushFileStart *start, struct lx_err *err)
{
	struct lx_worker_fds fds = { .n = 0 };
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return lx_err_errno(err, errno, "cannot make a socket pair for a worker");
	fds.fd[fds.n++] = pair[1];
	int r = lx_sink_open(t->agent->loop, pair[0], &sink_events, t, &t->sink, err);

	if (r < 0) {
		lx_worker_fds_close(&fds);
		return r;
	}
	t->begun = true;
	return run(t, start->instance, LXMGR__V1__WORKER_JOB__JOB_PUSH, &start->base, &fds, err);
}

static int on_first(struct transfer *t, struct lx_bytes msg, struct lx_err *err)
{
	Lxmgr__V1__PushFileRequest *req = lxmgr__v1__push_file_request__unpack(NULL, msg.len, msg.data);
	int r = req && req->what_case == LXMGR__V1__PUSH_FILE_REQUEST__WHAT_START
			? begin_push(t, req->start, err)
			: lx_err_set(err, LX_INVALID_ARGUMENT,
				     "the first message must say where the files go");

	lx_pb_free(req);
	return r;
}

static int pass_on(struct transfer *t, struct lx_bytes msg, struct lx_err *err)
{
	if (msg.len > MESSAGE_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a message of %zu bytes, the limit is %d",
				  msg.len, MESSAGE_MAX);
	int r = lx_frames_to_sink(t->sink, msg, err);

	if (r > 0)
		lx_call_pause(t->call);
	return r < 0 ? r : 0;
}

static void on_bytes(struct lx_call *call, struct lx_bytes msg, void *arg)
{
	struct transfer *t = arg;
	struct lx_err err = LX_ERR_INIT;
	int r = 0;

	if (!t->begun)
		r = on_first(t, msg, &err);
	else if (t->job)
		r = pass_on(t, msg, &err);
	if (r < 0)
		fail(t, &err);
}

static void on_half_closed(struct lx_call *call, void *arg)
{
	struct transfer *t = arg;
	struct lx_err err = LX_ERR_INIT;

	if (t->begun) {
		lx_sink_end(t->sink);
		return;
	}
	lx_err_set(&err, LX_INVALID_ARGUMENT, "the call ended before it said where the files go");
	fail(t, &err);
}

static const struct lx_call_events push_events = {
	.bytes = on_bytes,
	.half_closed = on_half_closed,
	.closed = on_closed,
};

void lx_push_open(struct lx_call *call, void *arg)
{
	(void)new_transfer(arg, call, push_answer, &push_events);
}

/* ------------------------------------------------------------------ delete */

static const ProtobufCMessage *delete_answer(const Lxmgr__V1__WorkerResult *result)
{
	static const Lxmgr__V1__DeleteFileResponse done = LXMGR__V1__DELETE_FILE_RESPONSE__INIT;

	return &done.base;
}

static const struct lx_call_events delete_events = { .closed = on_closed };

void lx_delete_file_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__DeleteFileRequest *req = (const void *)msg;
	struct transfer *t = new_transfer(arg, call, delete_answer, &delete_events);
	struct lx_worker_fds none = { .n = 0 };
	struct lx_err err = LX_ERR_INIT;

	if (t && run(t, req->instance, LXMGR__V1__WORKER_JOB__JOB_DELETE_FILE, msg, &none, &err) < 0)
		fail(t, &err);
}
