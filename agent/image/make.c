/* Making images: see make.h. */
#include "agent/image/make.h"

#include <signal.h>
#include <stdlib.h>

#include "agent/image/images.h"
#include "lib/log.h"
#include "proto/pb.h"

struct make {
	struct lx_agent *agent;
	struct lx_call *call; /* NULL: the caller has gone */
	struct lx_job *job;   /* NULL: it has ended */
	void (*ended)(void *arg);
	void *arg;
};

static void send_progress(struct lx_call *call, Lxmgr__V1__ImageProgress *progress)
{
	Lxmgr__V1__AgentImageProgress msg = LXMGR__V1__AGENT_IMAGE_PROGRESS__INIT;

	msg.what_case = LXMGR__V1__AGENT_IMAGE_PROGRESS__WHAT_PROGRESS;
	msg.progress = progress;
	lx_call_send(call, &msg.base);
}

void lx_make_progress(struct lx_call *call, const char *phase, uint64_t done, uint64_t total)
{
	Lxmgr__V1__ImageProgress progress = LXMGR__V1__IMAGE_PROGRESS__INIT;
	static char unit[] = "bytes";

	progress.phase = (char *)(uintptr_t)phase;
	progress.done = done;
	progress.total = total;
	progress.unit = unit;
	send_progress(call, &progress);
}

static void on_progress(const Lxmgr__V1__ImageProgress *progress, void *arg)
{
	struct make *m = arg;

	if (m->call)
		send_progress(m->call, (Lxmgr__V1__ImageProgress *)(uintptr_t)progress);
}

void lx_make_done(struct lx_call *call, Lxmgr__V1__Image *image)
{
	Lxmgr__V1__AgentImageProgress msg = LXMGR__V1__AGENT_IMAGE_PROGRESS__INIT;

	msg.what_case = LXMGR__V1__AGENT_IMAGE_PROGRESS__WHAT_IMAGE;
	msg.image = image;
	lx_call_send(call, &msg.base);
}

static void answer(struct make *m, Lxmgr__V1__Image *image, const struct lx_err *err)
{
	if (!m->call)
		return;
	if (err->code == LX_OK)
		lx_make_done(m->call, image);
	lx_call_fail(m->call, err);
}

static void maybe_free(struct make *m)
{
	if (!m->call && !m->job)
		free(m);
}

static void on_done(const struct lx_job_end *end, void *arg)
{
	struct make *m = arg;
	struct lx_err err = *end->err;
	Lxmgr__V1__Image *image = end->result ? end->result->image : NULL;

	m->job = NULL;
	if (err.code == LX_OK && !image)
		lx_err_set(&err, LX_INTERNAL, "the image worker has ended without an image");
	/* Even when nobody waits for it any more: it is there. */
	if (err.code == LX_OK)
		(void)lx_images_add(m->agent, image, &err);
	if (err.code != LX_OK)
		lx_warn("no image was made", "code=%s error=\"%s\"", lx_code_name(err.code), err.msg);
	answer(m, image, &err);
	if (m->ended)
		m->ended(m->arg);
	maybe_free(m);
}

static const struct lx_job_events job_events = { .progress = on_progress, .done = on_done };

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct make *m = arg;

	m->call = NULL;
	if (m->job)
		lx_job_kill(m->job, SIGTERM);
	maybe_free(m);
}

static const struct lx_call_events call_events = { .closed = on_closed };

int lx_make_image(struct lx_agent *a, struct lx_call *call, Lxmgr__V1__WorkerJob *msg,
		  void (*ended)(void *arg), void *arg, struct lx_err *err)
{
	struct make *m = calloc(1, sizeof(*m));

	if (!m) {
		lx_pb_free(msg);
		return lx_err_oom(err);
	}
	*m = (struct make){ .agent = a, .call = call, .ended = ended, .arg = arg };
	int r = lx_job_run(a->jobs, LX_JOB_IMAGE, msg, NULL, &job_events, m, &m->job, err);

	if (r < 0) {
		free(m);
		return r;
	}
	lx_call_set_events(call, &call_events, m);
	return 0;
}
