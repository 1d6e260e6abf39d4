/* CheckPolicy: a worker tries to compile the rules, nothing is kept. */
#include "agent/policy.h"

#include <stdlib.h>

#include "agent/jobs.h"

struct check {
	struct lx_call *call; /* NULL: gone */
};

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct check *)arg)->call = NULL;
}

static const struct lx_call_events call_events = { .closed = on_closed };

static void on_done(const struct lx_job_end *end, void *arg)
{
	Lxmgr__V1__AgentCheckPolicyResponse resp = LXMGR__V1__AGENT_CHECK_POLICY_RESPONSE__INIT;
	struct check *c = arg;

	if (c->call) {
		lx_call_set_events(c->call, NULL, NULL);
		if (end->err->code == LX_OK)
			lx_call_reply(c->call, &resp.base);
		else
			lx_call_fail(c->call, end->err);
	}
	free(c);
}

static const struct lx_job_events job_events = { .done = on_done };

void lx_policy_check_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_agent *a = arg;
	struct lx_err err = LX_ERR_INIT;
	struct check *c = calloc(1, sizeof(*c));

	if (!c) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	c->call = call;
	lx_call_set_events(call, &call_events, c);
	if (lx_job_run(a->jobs, LX_JOB_WORK,
		       lx_job_message(NULL, LXMGR__V1__WORKER_JOB__JOB_CHECK_POLICY, msg), NULL, &job_events,
		       c, NULL, &err) == 0)
		return;
	lx_call_set_events(call, NULL, NULL);
	lx_call_fail(call, &err);
	free(c);
}
