/*
 * Downloads. The worker has one end of a socket pair, we read the other at the pace of the
 * call. It is over when the job has ended *and* everything it wrote was sent: the two come
 * on different ways and in any order. A failed job ends the call at once.
 */
#include "agent/download.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/frames.h"
#include "agent/pump.h"
#include "lib/buf.h"
#include "proto/pb.h"

struct download {
	const struct lx_download_kind *kind;
	struct lx_call *call;     /* NULL: the caller has gone */
	struct lx_job *job;       /* NULL: it has ended */
	struct lx_source *source; /* NULL: all was read */
	struct lx_buf partial;    /* of a message */
	bool ended;
};

static void maybe_free(struct download *d)
{
	if (d->call || d->job)
		return;
	lx_source_close(d->source);
	lx_buf_release(&d->partial);
	free(d);
}

/* Code LX_OK: a good end. */
static void end_call(struct download *d, const struct lx_err *err)
{
	if (d->call && !d->ended)
		lx_call_fail(d->call, err);
	d->ended = true;
}

static void maybe_end(struct download *d)
{
	struct lx_err err = LX_ERR_INIT;

	if (d->job || d->source)
		return;
	if (d->partial.len > 0)
		lx_err_set(&err, LX_INTERNAL, "the worker stopped in the middle of a message");
	end_call(d, &err);
}

/* ------------------------------------------------------------------ what comes from the worker */

static int on_data(const uint8_t *data, size_t len, void *arg)
{
	struct download *d = arg;
	struct lx_err err = LX_ERR_INIT;

	if (!d->call || d->ended)
		return 0;
	int r = d->kind->send ? d->kind->send(d->call, data, len)
			      : lx_frames_to_call(&d->partial, data, len, d->call);

	if (r < 0) {
		lx_err_errno(&err, r, "cannot pass on what the worker sends");
		end_call(d, &err);
	}
	return r > 0 ? 1 : 0;
}

static void on_end(void *arg)
{
	struct download *d = arg;

	lx_source_close(d->source);
	d->source = NULL;
	maybe_end(d);
}

static const struct lx_source_events source_events = { .data = on_data, .end = on_end };

static void on_done(const struct lx_job_end *end, void *arg)
{
	struct download *d = arg;

	d->job = NULL;
	if (end->err->code != LX_OK)
		end_call(d, end->err);
	else
		maybe_end(d);
	maybe_free(d);
}

static const struct lx_job_events job_events = { .done = on_done };

/* ------------------------------------------------------------------ the call */

static void on_writable(struct lx_call *call, void *arg)
{
	struct download *d = arg;

	if (d->source)
		lx_source_resume(d->source);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct download *d = arg;

	d->call = NULL;
	lx_source_close(d->source);
	d->source = NULL;
	if (d->job)
		lx_job_kill(d->job, SIGTERM);
	maybe_free(d);
}

static const struct lx_call_events call_events = { .writable = on_writable, .closed = on_closed };

static int begin(struct download *d, struct lx_agent *a, enum lx_job_class class, Lxmgr__V1__WorkerJob *msg,
		 struct lx_err *err)
{
	struct lx_worker_fds fds = { .n = 0 };
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		r = lx_err_errno(err, errno, "cannot make a socket pair for a worker");
	} else {
		fds.fd[fds.n++] = pair[1];
		r = lx_source_open(a->loop, pair[0], &source_events, d, &d->source, err);
	}
	if (r == 0)
		return lx_job_run(a->jobs, class, msg, &fds, &job_events, d, &d->job, err);
	lx_pb_free(msg);
	lx_worker_fds_close(&fds);
	return r;
}

void lx_download(struct lx_agent *a, struct lx_call *call, enum lx_job_class class, Lxmgr__V1__WorkerJob *msg,
		 const struct lx_download_kind *kind)
{
	struct lx_err err = LX_ERR_INIT;
	struct download *d = calloc(1, sizeof(*d));

	if (!d) {
		lx_pb_free(msg);
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	d->kind = kind;
	d->call = call;
	lx_call_set_events(call, &call_events, d);
	if (begin(d, a, class, msg, &err) < 0)
		end_call(d, &err);
}
