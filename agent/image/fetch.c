/*
 * Getting an image from another agent.
 *
 *   no source yet --dial, SendImage--> first message --worker--> unpacking --both ended--> done
 *        ^                                  |                         |
 *        +-------- the source failed: the next one, from scratch -----+
 *
 * Messages go to the worker as they come (worker/image/transfer.c takes them apart), at its
 * pace: a full socket pauses the call. The image counts when the worker says so, which it does
 * only after the sender's last word and a comparison of what came with what was sent.
 *
 * Of several calls for one image the first makes the transfer and the others join it. It is
 * given up when the last of them has gone: the worker sees the end of its stream and removes
 * what it has made, as it does when this agent dies; a worker that dies too leaves something in
 * incoming/, which the next start sweeps.
 *
 * Ways to fail: no source answers, or none sends it whole (all reasons are told); no room here;
 * the image is being deleted here.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/download.h"
#include "agent/frames.h"
#include "agent/image/images.h"
#include "agent/image/make.h"
#include "agent/jobs.h"
#include "agent/peer.h"
#include "agent/pump.h"
#include "images/ref.h"
#include "lib/cleanup.h"
#include "lib/list.h"
#include "lib/log.h"
#include "proto/pb.h"

#define FETCH_MAX_SOURCES 64u
/* Calls that wait for one image. */
#define FETCH_MAX_WAITERS 1024u

struct waiter {
	TAILQ_ENTRY(waiter) link;
	struct fetch *fetch; /* NULL: answered */
	struct lx_call *call;
};

struct fetch {
	struct lx_agent *agent;
	Lxmgr__V1__AgentFetchImageRequest *req; /* of the first call */
	size_t next;                            /* source to try next */
	TAILQ_HEAD(, waiter) waiters;
	unsigned n_waiters;
	bool listed; /* in agent->fetches: others may join */

	/* The attempt with one source. */
	struct lx_channel *channel;
	struct lx_call *call; /* NULL: it has ended, or was let go */
	struct lx_sink *sink; /* NULL: not yet, or the worker has gone */
	struct lx_job *job;   /* NULL: not yet, or it has ended */
	struct lx_err failed; /* what the source said at its end, or what went wrong with it here */
	bool ours;            /* the latter: another source would not help */

	struct lx_err err; /* all that went wrong so far */
};

static void try_next(struct fetch *f);

static const char *fingerprint_of(const struct fetch *f)
{
	return f->req->fingerprint;
}

static void unlist(struct fetch *f)
{
	if (f->listed)
		lx_map_del(&f->agent->fetches, fingerprint_of(f));
	f->listed = false;
}

/* ------------------------------------------------------------------ those who wait */

static void answer(struct lx_call *call, Lxmgr__V1__Image *image, const struct lx_err *err)
{
	if (err->code == LX_OK)
		lx_make_done(call, image);
	lx_call_fail(call, err);
}

/* Everybody gets the same answer, and the transfer is over. */
static void finish(struct fetch *f, Lxmgr__V1__Image *image, const struct lx_err *err)
{
	struct waiter *w;

	unlist(f);
	while ((w = TAILQ_FIRST(&f->waiters))) {
		TAILQ_REMOVE(&f->waiters, w, link);
		w->fetch = NULL;
		answer(w->call, image, err);
	}
	if (err->code != LX_OK)
		lx_warn("no image was fetched", "fingerprint=%s code=%s error=\"%s\"", fingerprint_of(f),
			lx_code_name(err->code), err->msg);
	lx_pb_free(f->req);
	free(f);
}

/* ------------------------------------------------------------------ one attempt */

/* Nothing of the call or the channel comes any more. */
static void let_go(struct fetch *f)
{
	struct lx_channel *channel = f->channel;

	if (f->call)
		lx_call_set_events(f->call, NULL, NULL);
	f->call = NULL;
	f->channel = NULL;
	lx_channel_close(channel);
}

/* The worker sees the end of the stream and ends. */
static void end_stream(struct fetch *f)
{
	lx_sink_close(f->sink);
	f->sink = NULL;
}

static void note_failure(struct fetch *f, const struct lx_err *why)
{
	const Lxmgr__V1__ImageSource *source = f->req->sources[f->next - 1];
	struct lx_err before = f->err;

	lx_info("a node did not give an image", "node=%s fingerprint=%s error=\"%s\"", source->node,
		fingerprint_of(f), why->msg);
	lx_err_set(&f->err, LX_ABORTED, "%s%snode %.64s: %.200s", before.code == LX_OK ? "" : before.msg,
		   before.code == LX_OK ? "" : "; ", source->node, why->msg);
	lx_err_hint(&f->err, "%s", why->hint);
}

/* Is what the worker says about this node, so that another source would not help? */
static bool is_ours(const struct lx_err *why)
{
	return why->code == LX_RESOURCE_EXHAUSTED || why->code == LX_FAILED_PRECONDITION;
}

/* Both the call and the worker are through without an image. */
static void attempt_failed(struct fetch *f, const struct lx_err *why)
{
	let_go(f);
	end_stream(f);
	if (TAILQ_EMPTY(&f->waiters) || f->ours) {
		finish(f, NULL, why);
		return;
	}
	note_failure(f, why);
	try_next(f);
}

static void on_progress(const Lxmgr__V1__ImageProgress *progress, void *arg)
{
	struct fetch *f = arg;
	struct waiter *w;

	TAILQ_FOREACH (w, &f->waiters, link)
		lx_make_progress(w->call, progress->phase, progress->done, progress->total);
}

static void on_done(const struct lx_job_end *end, void *arg)
{
	struct fetch *f = arg;
	struct lx_err err = *end->err;
	Lxmgr__V1__Image *image = end->result ? end->result->image : NULL;

	f->job = NULL;
	if (err.code == LX_OK && !image)
		lx_err_set(&err, LX_INTERNAL, "the image worker has ended without an image");
	if (err.code == LX_OK)
		(void)lx_images_add(f->agent, image, &err);
	if (err.code == LX_OK) {
		let_go(f);
		end_stream(f);
		finish(f, image, &err);
	} else {
		f->ours = f->ours || is_ours(&err);
		/* That the stream was cut off is only what the worker sees of what the source said. */
		attempt_failed(f, f->failed.code != LX_OK && !is_ours(&err) ? &f->failed : &err);
	}
}

static const struct lx_job_events job_events = { .progress = on_progress, .done = on_done };

static void on_drained(void *arg)
{
	struct fetch *f = arg;

	if (f->call)
		lx_call_resume(f->call);
}

static const struct lx_sink_events sink_events = { .drained = on_drained };

static int start_worker(struct fetch *f, struct lx_err *err)
{
	Lxmgr__V1__WorkerJob *msg = lx_job_message(NULL, LXMGR__V1__WORKER_JOB__JOB_RECEIVE_IMAGE, NULL);
	struct lx_worker_fds fds = { .n = 0 };
	int pair[2], r = 0;

	if (!msg || lx_pb_set(&msg->receive_image->fingerprint, fingerprint_of(f)) < 0)
		r = lx_err_oom(err);
	else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		r = lx_err_errno(err, errno, "cannot make a socket pair for a worker");
	if (r == 0) {
		fds.fd[fds.n++] = pair[1];
		r = lx_sink_open(f->agent->loop, pair[0], &sink_events, f, &f->sink, err);
	}
	if (r == 0)
		return lx_job_run(f->agent->jobs, LX_JOB_TRANSFER, msg, &fds, &job_events, f, &f->job, err);
	lx_pb_free(msg);
	lx_worker_fds_close(&fds);
	return r;
}

static void on_bytes(struct lx_call *call, struct lx_bytes msg, void *arg)
{
	struct fetch *f = arg;

	/* What fails here is told at the call's end. */
	if (f->failed.code != LX_OK || (f->job && !f->sink))
		return;
	if (!f->job && start_worker(f, &f->failed) < 0) {
		f->ours = true;
		lx_call_cancel(call);
		return;
	}
	int r = lx_frames_to_sink(f->sink, msg, &f->failed);

	if (r < 0) {
		f->ours = true;
		lx_call_cancel(call);
	} else if (r > 0) {
		lx_call_pause(call);
	}
}

static void on_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct fetch *f = arg;

	f->call = NULL;
	if (f->failed.code == LX_OK)
		f->failed = *err;
	if (f->failed.code == LX_OK && !f->job)
		lx_err_set(&f->failed, LX_INTERNAL, "it has sent nothing");
	if (!f->job) {
		attempt_failed(f, &f->failed);
		return;
	}
	/* The worker has the last word. */
	if (f->failed.code == LX_OK)
		lx_sink_end(f->sink);
	else
		end_stream(f);
}

static const struct lx_call_events call_events = { .bytes = on_bytes, .closed = on_call_closed };

/* ------------------------------------------------------------------ sources */

static int ask(struct fetch *f, struct lx_err *err)
{
	Lxmgr__V1__AgentSendImageRequest req = LXMGR__V1__AGENT_SEND_IMAGE_REQUEST__INIT;
	size_t len = 0;

	req.operation = f->req->operation;
	req.fingerprint = f->req->fingerprint;
	lx_autofree uint8_t *bytes = lx_pb_pack(&req.base, &len);

	if (!bytes)
		return lx_err_oom(err);
	int r = lx_channel_stream_raw(f->channel, "/lxmgr.v1.AgentService/SendImage", NULL, &call_events, f,
				      &f->call, err);

	if (r < 0)
		return r;
	lx_call_send_bytes(f->call, (struct lx_bytes){ bytes, len });
	lx_call_half_close(f->call);
	return 0;
}

/* Ends the transfer when there is no source left. */
static void try_next(struct fetch *f)
{
	while (f->next < f->req->n_sources) {
		const Lxmgr__V1__ImageSource *source = f->req->sources[f->next++];
		struct lx_err err = LX_ERR_INIT;

		f->failed = (struct lx_err)LX_ERR_INIT;
		if (lx_peer_dial(f->agent, source->node, source->address, &f->channel, &err) == 0 &&
		    ask(f, &err) == 0)
			return;
		let_go(f);
		note_failure(f, &err);
	}
	lx_err_wrap(&f->err, "cannot fetch image %.*s to node %s", LX_FINGERPRINT_SHORT, fingerprint_of(f),
		    f->agent->node);
	finish(f, NULL, &f->err);
}

/* ------------------------------------------------------------------ the calls */

/* Nobody wants it any more. */
static void give_up(struct fetch *f)
{
	struct lx_err err = LX_ERR_INIT;

	unlist(f);
	let_go(f);
	end_stream(f);
	lx_err_set(&f->failed, LX_CANCELLED, "cancelled");
	lx_err_set(&err, LX_CANCELLED, "cancelled");
	if (f->job)
		lx_job_kill(f->job, SIGTERM); /* it may be hashing; on_done comes */
	else
		finish(f, NULL, &err);
}

static void on_waiter_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct waiter *w = arg;
	struct fetch *f = w->fetch;

	if (f) {
		TAILQ_REMOVE(&f->waiters, w, link);
		f->n_waiters--;
		if (TAILQ_EMPTY(&f->waiters))
			give_up(f);
	}
	free(w);
}

static const struct lx_call_events waiter_events = { .closed = on_waiter_closed };

static int join(struct fetch *f, struct lx_call *call, struct lx_err *err)
{
	struct waiter *w;

	if (f->n_waiters >= FETCH_MAX_WAITERS)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "%u calls wait for image %.*s already",
				  f->n_waiters, LX_FINGERPRINT_SHORT, fingerprint_of(f));
	w = calloc(1, sizeof(*w));
	if (!w)
		return lx_err_oom(err);
	w->fetch = f;
	w->call = call;
	TAILQ_INSERT_TAIL(&f->waiters, w, link);
	f->n_waiters++;
	lx_call_set_events(call, &waiter_events, w);
	return 0;
}

static struct fetch *new_fetch(struct lx_agent *a, const Lxmgr__V1__AgentFetchImageRequest *req)
{
	struct fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->agent = a;
	f->req = LX_PB_DUP(Lxmgr__V1__AgentFetchImageRequest, req);
	TAILQ_INIT(&f->waiters);
	if (!f->req || lx_map_set(&a->fetches, req->fingerprint, f) < 0) {
		lx_pb_free(f->req);
		free(f);
		return NULL;
	}
	f->listed = true;
	return f;
}

static int check(const struct lx_agent *a, const Lxmgr__V1__AgentFetchImageRequest *req, struct lx_err *err)
{
	if (!lx_fingerprint_valid(req->fingerprint))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "\"%.80s\" is no image fingerprint",
				  req->fingerprint);
	if (req->n_sources == 0 || req->n_sources > FETCH_MAX_SOURCES)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the request names %zu nodes to fetch the image from: 1 to %u can be used",
				  req->n_sources, FETCH_MAX_SOURCES);
	if (lx_map_has(&a->images_leaving, req->fingerprint))
		return lx_err_set(err, LX_ABORTED, "image %.*s is just being deleted on node %s",
				  LX_FINGERPRINT_SHORT, req->fingerprint, a->node);
	return 0;
}

void lx_image_fetch_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentFetchImageRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__Image *image = lx_map_get(&a->images, req->fingerprint);

	if (image || check(a, req, &err) < 0) {
		answer(call, image, &err);
		return;
	}
	struct fetch *f = lx_map_get(&a->fetches, req->fingerprint);
	bool first = !f;

	if (first)
		f = new_fetch(a, req);
	if (!f) {
		lx_err_oom(&err);
		lx_call_fail(call, &err);
	} else if (join(f, call, &err) < 0) {
		lx_call_fail(call, &err);
		if (first)
			finish(f, NULL, &err);
	} else if (first) {
		try_next(f);
	}
}

void lx_image_send_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	static const struct lx_download_kind as_it_is = { 0 };
	const Lxmgr__V1__AgentSendImageRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	Lxmgr__V1__WorkerJob *job;

	if (!lx_map_has(&a->images, req->fingerprint)) {
		lx_call_failf(call, LX_NOT_FOUND, "image %.64s is not on node %s", req->fingerprint, a->node);
		return;
	}
	job = lx_job_message(NULL, LXMGR__V1__WORKER_JOB__JOB_SEND_IMAGE, NULL);
	if (!job || lx_pb_set(&job->send_image->fingerprint, req->fingerprint) < 0) {
		lx_pb_free(job);
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	lx_info("sending an image", "fingerprint=%s to=%s", req->fingerprint,
		lx_call_peer(call)->common_name ? lx_call_peer(call)->common_name : "");
	lx_download(a, call, LX_JOB_TRANSFER, job, &as_it_is);
}
