/*
 * Asking for operations and waiting for them: see operations.h for the states.
 *
 * The happy path: the request is answered with an operation, a Watch call streams it until
 * it has ended. Ways to fail: the request is refused (its error is the subject's); the
 * watch breaks because the manager restarts (asked again for a while, since operations
 * survive that); Ctrl-C (the watch is dropped, the operation goes on and is named).
 */
#include "cli/operations.h"

#include <signal.h>

#include "cli/progress.h"
#include "proto/pb.h"

#define TICK_MS     100u
#define RETRY_MS    250u
#define RETRY_TRIES 120u /* half a minute without the manager */

struct waiter {
	struct run *run;
	struct cli_op *op;
	struct lx_call *call; /* the request or the watch, or NULL */
	unsigned tries;       /* watches in a row that brought nothing */
	uint64_t retry_at;    /* loop time of the next try; 0: none due */
	bool over;
};

struct run {
	struct cli *cli;
	const struct cli_ops *ops;
	struct waiter *waiters;
	size_t next, active, over, failed;
	const struct waiter *shown; /* whose phase the progress line shows */
	struct cli_progress progress;
	unsigned interrupts;
	bool done;
	uv_timer_t tick;
	uv_signal_t sigint;
};

static void start_more(struct run *run);

/* ------------------------------------------------------------------ words */

const char *cli_operation_status(Lxmgr__V1__OperationStatus status)
{
	switch (status) {
	case LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_PENDING:
		return "PENDING";
	case LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_RUNNING:
		return "RUNNING";
	case LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_SUCCESS:
		return "SUCCESS";
	case LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_FAILURE:
		return "FAILURE";
	case LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_CANCELLED:
		return "CANCELLED";
	default:
		return "UNKNOWN";
	}
}

bool cli_operation_is_over(const Lxmgr__V1__Operation *op)
{
	return op->status == LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_SUCCESS ||
	       op->status == LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_FAILURE ||
	       op->status == LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_CANCELLED;
}

void cli_operation_error(const Lxmgr__V1__Operation *op, struct lx_err *err)
{
	if (op->status == LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_CANCELLED)
		lx_err_set(err, LX_CANCELLED, "%s", *op->error ? op->error : "the operation was cancelled");
	else
		lx_err_set(err, op->error_code ? (enum lx_code)op->error_code : LX_UNKNOWN, "%s",
			   *op->error ? op->error : "the operation failed and does not say why");
	if (*op->hint)
		lx_err_hint(err, "%s", op->hint);
}

bool cli_no_wait(const struct cli *cli)
{
	return cli_flag(cli, "no-wait") || cli_flag(cli, "async");
}

int cli_request_id(char **field, struct lx_err *err)
{
	char id[LX_UUID_TEXT];
	int r = lx_uuid(id);

	if (r < 0)
		return lx_err_errno(err, r, "cannot make a request id");
	return lx_pb_set(field, id) < 0 ? lx_err_oom(err) : 0;
}

/* ------------------------------------------------------------------ progress */

static void show(struct run *run)
{
	char label[192];
	struct cli_progress_state s = { .label = label, .phase = "", .unit = "" };
	const struct waiter *w = run->shown;

	if (run->ops->n > 1) {
		snprintf(label, sizeof(label), "%s", run->ops->doing);
		s.done = run->over;
		s.total = run->ops->n;
		s.unit = "done";
	} else if (w) {
		const Lxmgr__V1__Operation *op = w->op->last;
		if (op && cli_operation_is_over(op))
			return;
		snprintf(label, sizeof(label), "%s %s", run->ops->doing, w->op->subject);
		if (op) {
			s.phase = op->phase;
			s.done = op->progress_done;
			s.total = op->progress_total;
			s.unit = op->progress_unit;
		}
	} else {
		return;
	}
	cli_progress_show(&run->progress, &s);
}

/* ------------------------------------------------------------------ one operation */

static void finish(struct waiter *w, const struct lx_err *err)
{
	struct run *run = w->run;

	if (w->over)
		return;
	w->over = true;
	run->active--;
	run->over++;
	if (err) {
		w->op->err = *err;
		run->failed++;
		if (run->ops->n > 1 && err->code != LX_CANCELLED) {
			struct lx_err said = *err;
			cli_explain(run->cli, &said);
			cli_progress_clear(&run->progress);
			if (!strstr(said.msg, w->op->subject))
				lx_err_wrap(&said, "%s", w->op->subject);
			cli_report(&said);
		}
	}
	run->done = run->over == run->ops->n;
}

static void keep(struct waiter *w, const Lxmgr__V1__Operation *op)
{
	Lxmgr__V1__Operation *copy = LX_PB_DUP(Lxmgr__V1__Operation, op);

	if (!copy)
		return; /* the next one, or the end of the stream, will tell */
	lx_pb_free(w->op->last);
	w->op->last = copy;
	w->run->shown = w;
}

static void settle(struct waiter *w)
{
	if (w->op->last->status == LXMGR__V1__OPERATION_STATUS__OPERATION_STATUS_SUCCESS) {
		finish(w, NULL);
		return;
	}
	struct lx_err err = LX_ERR_INIT;
	cli_operation_error(w->op->last, &err);
	finish(w, &err);
}

static const char *operation_id(const struct cli_op *op)
{
	return op->last ? op->last->id : op->id;
}

static void on_watch(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct waiter *w = arg;

	if (w->over)
		return;
	w->tries = 0;
	keep(w, (const Lxmgr__V1__Operation *)msg);
}

static void on_watch_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct waiter *w = arg;

	w->call = NULL;
	if (w->over)
		return;
	if (w->op->last && cli_operation_is_over(w->op->last)) {
		settle(w);
	} else if (err->code == LX_UNAVAILABLE && w->tries < RETRY_TRIES) {
		w->tries++;
		w->retry_at = uv_now(cli_loop(w->run->cli)) + RETRY_MS;
		return;
	} else {
		struct lx_err said = *err;
		if (said.code == LX_OK)
			lx_err_set(&said, LX_INTERNAL,
				   "the manager stopped telling before the operation was over");
		finish(w, &said);
	}
	start_more(w->run);
}

static void watch(struct waiter *w)
{
	static const struct lx_call_events events = { .message = on_watch, .closed = on_watch_closed };
	Lxmgr__V1__OperationRequest req = LXMGR__V1__OPERATION_REQUEST__INIT;
	struct lx_err err = LX_ERR_INIT;

	w->retry_at = 0;
	req.id = (char *)operation_id(w->op);
	if (lx_channel_stream(w->run->cli->channel, CLI_OPERATIONS, "Watch", cli_options(w->run->cli),
			      &events, w, &w->call, &err) < 0) {
		finish(w, &err);
		return;
	}
	if (lx_call_send(w->call, &req.base) >= 0)
		lx_call_half_close(w->call);
}

static void on_accepted(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct waiter *w = arg;

	w->call = NULL;
	if (w->over)
		return;
	if (!resp) {
		finish(w, err);
		start_more(w->run);
		return;
	}
	keep(w, (const Lxmgr__V1__Operation *)resp);
	if (!w->op->last) {
		struct lx_err oom = LX_ERR_INIT;
		lx_err_oom(&oom);
		finish(w, &oom);
	} else if (w->run->ops->no_wait) {
		finish(w, NULL);
	} else if (cli_operation_is_over(w->op->last)) {
		settle(w);
	} else if (w->run->interrupts) {
		w->run->done = true; /* it was only waiting for the id */
	} else {
		watch(w);
	}
	start_more(w->run);
}

static void start(struct waiter *w)
{
	struct run *run = w->run;
	struct lx_err err = LX_ERR_INIT;

	run->active++;
	if (!run->shown)
		run->shown = w;
	if (!w->op->req)
		watch(w);
	else if (lx_channel_unary(run->cli->channel, run->ops->service, run->ops->method, w->op->req,
				  cli_options(run->cli), on_accepted, w, &w->call, &err) < 0)
		finish(w, &err);
}

static void start_more(struct run *run)
{
	while (!run->interrupts && run->next < run->ops->n && run->active < CLI_OPS_AT_ONCE)
		start(&run->waiters[run->next++]);
	show(run);
}

/* ------------------------------------------------------------------ all of them */

static void on_tick(uv_timer_t *t)
{
	struct run *run = t->data;

	uint64_t now = uv_now(t->loop);
	for (size_t i = 0; i < run->next; i++)
		if (run->waiters[i].retry_at && run->waiters[i].retry_at <= now)
			watch(&run->waiters[i]);
	show(run);
}

static bool has_unanswered(const struct run *run)
{
	for (size_t i = 0; i < run->next; i++)
		if (!run->waiters[i].over && !operation_id(run->waiters[i].op))
			return true;
	return false;
}

static void on_sigint(uv_signal_t *s, int signum)
{
	struct run *run = s->data;

	/* The first one waits for ids still on their way, so that they can be named; the second does not. */
	run->interrupts++;
	if (run->interrupts > 1 || !has_unanswered(run))
		run->done = true;
}

static int detached(const struct run *run, struct lx_err *err)
{
	const struct cli_op *first = NULL;
	size_t left = 0;

	for (size_t i = 0; i < run->ops->n; i++) {
		if (run->waiters[i].over || !operation_id(run->waiters[i].op))
			continue;
		if (!first)
			first = run->waiters[i].op;
		left++;
	}
	if (!left)
		return lx_err_set(err, LX_CANCELLED, "interrupted before the manager had answered");
	int r = left == 1 ? lx_err_set(err, LX_CANCELLED, "interrupted; %s %s goes on in the background",
				       run->ops->doing, first->subject)
			  : lx_err_set(err, LX_CANCELLED,
				       "interrupted; %zu operations go on in the background", left);
	if (left == 1)
		lx_err_hint(err, "Follow it: lxmgr operation wait %s. Stop it: lxmgr operation cancel %s",
			    operation_id(first), operation_id(first));
	else
		lx_err_hint(err, "See them: lxmgr operation list. Stop one: lxmgr operation cancel ID");
	return r;
}

static int outcome(const struct run *run, struct lx_err *err)
{
	const struct cli_ops *ops = run->ops;

	if (run->over < ops->n)
		return detached(run, err);
	if (ops->no_wait)
		for (size_t i = 0; i < ops->n; i++)
			if (ops->ops[i].last)
				printf("%s\n", ops->ops[i].last->id);
	if (!run->failed)
		return 0;
	if (ops->n == 1) {
		*err = ops->ops[0].err;
		return lx_code_errno(err->code);
	}
	return lx_err_set(err, LX_ABORTED, "%zu of %zu failed", run->failed, ops->n);
}

/* The handles live in `run`: disconnecting makes the loop let go of them, and of the calls. */
static void close_handles(struct run *run)
{
	for (size_t i = 0; i < run->ops->n; i++)
		run->waiters[i].over = true; /* callbacks still to come do nothing */
	uv_close((uv_handle_t *)&run->tick, NULL);
	uv_close((uv_handle_t *)&run->sigint, NULL);
	cli_disconnect(run->cli);
}

int cli_ops_run(struct cli *cli, const struct cli_ops *ops, struct lx_err *err)
{
	struct run run = { .cli = cli, .ops = ops, .done = ops->n == 0 };
	int r = cli_connect(cli, err);

	if (r < 0)
		return r;
	lx_autofree struct waiter *waiters = calloc(ops->n ? ops->n : 1, sizeof(*waiters));
	if (!waiters)
		return lx_err_oom(err);
	run.waiters = waiters;
	for (size_t i = 0; i < ops->n; i++)
		waiters[i] = (struct waiter){ .run = &run, .op = &ops->ops[i] };
	cli_progress_init(&run.progress, cli->quiet || ops->no_wait);
	uv_timer_init(cli->loop, &run.tick);
	uv_signal_init(cli->loop, &run.sigint);
	run.tick.data = run.sigint.data = &run;
	uv_timer_start(&run.tick, on_tick, TICK_MS, TICK_MS);
	uv_signal_start(&run.sigint, on_sigint, SIGINT);

	start_more(&run);
	r = cli_run(cli, &run.done, err);
	cli_progress_clear(&run.progress);
	if (r == 0)
		r = outcome(&run, err);
	close_handles(&run);
	return r;
}

void cli_ops_release(struct cli_op *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		lx_pb_free(ops[i].last);
		ops[i].last = NULL;
	}
}

int cli_op_run(struct cli *cli, const char *doing, const char *subject,
	       const ProtobufCServiceDescriptor *service, const char *method, const void *req,
	       Lxmgr__V1__Operation **ret_last, struct lx_err *err)
{
	struct cli_op op = { .subject = subject, .req = req };
	const struct cli_ops ops = { .doing = doing,
				     .service = service,
				     .method = method,
				     .no_wait = cli_no_wait(cli),
				     .ops = &op,
				     .n = 1 };
	int r = cli_ops_run(cli, &ops, err);

	if (r == 0 && ret_last)
		*ret_last = op.last;
	else
		cli_ops_release(&op, 1);
	return r;
}
