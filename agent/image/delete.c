/*
 * Deleting an image: refused while an instance stands on it. It is out of the list while
 * the worker removes it, so that nothing new is made of it; when that fails it comes back.
 * Deleting what is not there is success.
 */
#include <stdlib.h>

#include "agent/image/images.h"
#include "agent/instance/instance.h"
#include "agent/jobs.h"
#include "lib/log.h"
#include "proto/pb.h"

struct deletion {
	struct lx_agent *agent;
	struct lx_call *call;    /* NULL: the caller has gone */
	Lxmgr__V1__Image *image; /* NULL: done */
};

static void maybe_free(struct deletion *d)
{
	if (!d->call && !d->image)
		free(d);
}

static void reply(struct lx_call *call)
{
	Lxmgr__V1__AgentDeleteImageResponse resp = LXMGR__V1__AGENT_DELETE_IMAGE_RESPONSE__INIT;

	lx_call_reply(call, &resp.base);
}

static void put_back(struct deletion *d)
{
	if (lx_map_set(&d->agent->images, d->image->fingerprint, d->image) < 0) {
		lx_error("out of memory: an image is on disk, but not listed until the agent starts again",
			 "fingerprint=%s", d->image->fingerprint);
		lx_pb_free(d->image);
	}
	d->image = NULL;
}

static void on_done(const struct lx_job_end *end, void *arg)
{
	struct deletion *d = arg;

	if (end->err->code != LX_OK) {
		lx_warn("cannot delete an image", "fingerprint=%s error=\"%s\"", d->image->fingerprint,
			end->err->msg);
		put_back(d);
		if (d->call)
			lx_call_fail(d->call, end->err);
	} else {
		lx_info("image deleted", "fingerprint=%s", d->image->fingerprint);
		lx_watch_image_removed(d->agent, d->image->fingerprint);
		lx_pb_free(d->image);
		d->image = NULL;
		if (d->call)
			reply(d->call);
	}
	maybe_free(d);
}

static void on_job_done(const struct lx_job_end *end, void *arg)
{
	const struct deletion *d = arg;

	lx_map_del(&d->agent->images_leaving, d->image->fingerprint);
	on_done(end, arg);
}

static const struct lx_job_events job_events = { .done = on_job_done };

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct deletion *d = arg;

	d->call = NULL;
	maybe_free(d);
}

static const struct lx_call_events call_events = { .closed = on_closed };

static const struct lx_instance *find_user(const struct lx_agent *a, const char *fingerprint,
					   size_t *ret_count)
{
	const struct lx_instance *first = NULL;

	*ret_count = 0;
	for (struct lx_map_entry *e = lx_map_first(&a->instances); e; e = lx_map_next(e)) {
		const struct lx_instance *inst = lx_map_value(e);

		if (!lx_streq(inst->spec->image_fingerprint, fingerprint))
			continue;
		first = first ? first : inst;
		(*ret_count)++;
	}
	return first;
}

static int run(struct deletion *d, struct lx_err *err)
{
	Lxmgr__V1__WorkerJob *msg = lx_job_message(NULL, LXMGR__V1__WORKER_JOB__JOB_DELETE_IMAGE, NULL);

	if (!msg || lx_pb_set(&msg->delete_image->fingerprint, d->image->fingerprint) < 0) {
		lx_pb_free(msg);
		return lx_err_oom(err);
	}
	return lx_job_run(d->agent->jobs, LX_JOB_IMAGE, msg, NULL, &job_events, d, NULL, err);
}

void lx_image_delete_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentImageRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	struct lx_err err = LX_ERR_INIT;
	size_t users;
	const struct lx_instance *user = find_user(a, req->fingerprint, &users);

	if (user) {
		lx_err_set(&err, LX_FAILED_PRECONDITION,
			   "image %.16s is in use by %zu instance%s on node %s (%s%s)", req->fingerprint,
			   users, users == 1 ? "" : "s", a->node, user->name, users == 1 ? "" : ", ...");
		lx_err_hint(&err, "Delete what was made of it first.");
		lx_call_fail(call, &err);
		return;
	}
	if (lx_map_has(&a->fetches, req->fingerprint)) {
		lx_call_failf(call, LX_FAILED_PRECONDITION, "image %.16s is just being fetched to node %s",
			      req->fingerprint, a->node);
		return;
	}
	if (!lx_map_has(&a->images, req->fingerprint)) {
		reply(call);
		return;
	}
	struct deletion *d = calloc(1, sizeof(*d));

	if (!d) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	*d = (struct deletion){ .agent = a,
				.call = call,
				.image = lx_map_take(&a->images, req->fingerprint) };
	/* Without memory for this a fetch at the same time may lose what it has brought; it can be repeated.
	 */
	(void)lx_map_set(&a->images_leaving, d->image->fingerprint, (void *)1);
	lx_call_set_events(call, &call_events, d);
	if (run(d, &err) < 0) {
		lx_map_del(&a->images_leaving, d->image->fingerprint);
		put_back(d);
		lx_call_fail(call, &err);
	}
}
