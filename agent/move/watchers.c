/*
 * Calls of SendInstance: any number wait for one move, come and go, and get its progress and,
 * as the last message, its outcome.
 */
#include <stdlib.h>

#include "agent/move/move.h"
#include "lib/str.h"
#include "proto/pb.h"

struct lx_move_watcher {
	TAILQ_ENTRY(lx_move_watcher) link;
	struct lx_agent_move *move; /* NULL: it was told the end */
	struct lx_call *call;
};

/* The status of a move; texts are borrowed. */
struct status {
	Lxmgr__V1__AgentMoveStatus pb;
	struct lx_report report;
};

static void fill_status(const struct lx_agent_move *m, struct status *ret)
{
	const struct lx_instance *inst = lx_map_get(&m->agent->instances, m->rec->instance);

	lxmgr__v1__agent_move_status__init(&ret->pb);
	ret->pb.state = m->rec->state;
	ret->pb.report = m->rec->report;
	ret->pb.error_code = m->rec->error_code;
	ret->pb.error = m->rec->error;
	ret->pb.hint = m->rec->hint;
	if (inst) {
		lx_instance_report(inst, &ret->report);
		ret->pb.instance = &ret->report.pb;
	}
}

void lx_move_reply_status(struct lx_agent_move *m, struct lx_call *call)
{
	struct status status;

	fill_status(m, &status);
	lx_call_reply(call, &status.pb.base);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct lx_move_watcher *w = arg;

	if (w->move)
		TAILQ_REMOVE(&w->move->watchers, w, link);
	free(w);
}

static const struct lx_call_events events = { .closed = on_closed };

static void send_end(const struct lx_agent_move *m, struct lx_call *call)
{
	Lxmgr__V1__AgentMoveProgress last = LXMGR__V1__AGENT_MOVE_PROGRESS__INIT;
	struct status status;

	fill_status(m, &status);
	last.status = &status.pb;
	lx_call_send(call, &last.base);
	lx_call_fail(call, NULL);
}

int lx_move_watch(struct lx_agent_move *m, struct lx_call *call, struct lx_err *err)
{
	if (lx_move_settled(m) && !m->task) {
		send_end(m, call);
		return 0;
	}
	struct lx_move_watcher *w = calloc(1, sizeof(*w));

	if (!w)
		return lx_err_oom(err);
	w->move = m;
	w->call = call;
	TAILQ_INSERT_TAIL(&m->watchers, w, link);
	lx_call_set_events(call, &events, w);
	return 0;
}

void lx_move_tell_progress(struct lx_agent_move *m, const Lxmgr__V1__ImageProgress *progress)
{
	Lxmgr__V1__AgentMoveProgress p = LXMGR__V1__AGENT_MOVE_PROGRESS__INIT;
	struct lx_move_watcher *w;

	p.phase = progress->phase;
	p.done = progress->done;
	p.total = progress->total;
	TAILQ_FOREACH (w, &m->watchers, link)
		lx_call_send(w->call, &p.base);
}

void lx_move_tell_end(struct lx_agent_move *m)
{
	struct lx_move_watcher *w;

	while ((w = TAILQ_FIRST(&m->watchers))) {
		TAILQ_REMOVE(&m->watchers, w, link);
		w->move = NULL;
		send_end(m, w->call);
	}
}

void lx_move_unwatch_all(struct lx_agent_move *m)
{
	struct lx_move_watcher *w;

	while ((w = TAILQ_FIRST(&m->watchers))) {
		TAILQ_REMOVE(&m->watchers, w, link);
		w->move = NULL;
	}
}
