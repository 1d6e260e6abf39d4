/*
 *   connect ----there----> told to tell us ----it has ended---+
 *      |                                                      |
 *      +--nobody there--> a worker starts it <----a moment----+
 *                            |       |
 *          connect again <---+       +--it could not--> a while, longer each time
 *
 * What is asked for is that of the policy the guest runs under, not of its configuration, which may have
 * changed since.
 */
#include "agent/instance/intercept.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/denial/denials.h"
#include "agent/jobs.h"
#include "agent/loop.h"
#include "agent/worker/control_socket.h"
#include "agent/worker/intercept_message.h"
#include "lib/cleanup.h"
#include "lib/fd_pass.h"
#include "lib/fs.h"
#include "lib/log.h"

/* It ends with the instance as well: that shows in a moment. */
#define MOMENT_MS 100u
#define LONG_MS   30000u

struct lx_intercept_link {
	struct lx_instance *inst;
	int fd;
	struct lx_fdwatch *watch;
	struct lx_timer *timer;
	struct lx_job *job;
	uint64_t wait_ms;
};

static void begin(struct lx_intercept_link *l);

static void hang_up(struct lx_intercept_link *l)
{
	lx_fdwatch_drop(&l->watch);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

static void on_time(void *arg)
{
	struct lx_intercept_link *l = arg;

	lx_timer_drop(&l->timer);
	begin(l);
}

static void later(struct lx_intercept_link *l)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_timer_start(l->inst->agent->loop, l->wait_ms, 0, on_time, l, &l->timer, &err) < 0)
		lx_error("system calls of an instance wait for nobody", "instance=%s error=\"%s\"",
			 l->inst->name, err.msg);
	l->wait_ms = l->wait_ms * 2 < LONG_MS ? l->wait_ms * 2 : LONG_MS;
}

/* ------------------------------------------------------------------ what it tells */

static void note(const struct lx_intercept_link *l, struct lx_intercept_refusal *r)
{
	r->call[sizeof(r->call) - 1] = r->what[sizeof(r->what) - 1] = r->program[sizeof(r->program) - 1] =
		'\0';
	const char *const details[] = { "reason", "not among what is harmless: left to the kernel", NULL };
	const struct lx_denial d = { .instance = l->inst->name,
				     .kind = "syscall",
				     .operation = r->call,
				     .path = r->what,
				     .program = r->program,
				     .count = 1,
				     .details = details };

	lx_denials_note(l->inst->agent, &d);
}

static void on_readable(void *arg, int events)
{
	struct lx_intercept_link *l = arg;
	struct lx_intercept_refusal r = { 0 };
	int none = -1;
	ssize_t n = lx_fd_recv(l->fd, &r, sizeof(r), &none);

	if (none >= 0)
		close(none);
	if (n == -EAGAIN)
		return;
	if (n > 0) {
		note(l, &r);
		return;
	}
	hang_up(l);
	later(l);
}

static int listen_to(struct lx_intercept_link *l, int fd, struct lx_err *err)
{
	struct lx_intercept_request q = { .kind = LX_INTERCEPT_WATCH };
	int r = lx_fd_send(fd, &q, sizeof(q), -1);

	if (r < 0)
		return lx_err_errno(err, r, "cannot reach the one that makes system calls");
	return lx_fdwatch_start(l->inst->agent->loop, fd, UV_READABLE, on_readable, l, &l->watch, err);
}

/* ------------------------------------------------------------------ starting it */

static void on_started(const struct lx_job_end *end, void *arg)
{
	struct lx_intercept_link *l = arg;

	l->job = NULL;
	if (end->err->code != LX_OK)
		lx_warn("system calls of an instance wait", "instance=%s error=\"%s\"", l->inst->name,
			end->err->msg);
	/* Also after it was started: should it not stay, then not in a circle. */
	later(l);
}

static const struct lx_job_events job_events = { .done = on_started };

static void start(struct lx_intercept_link *l)
{
	struct lx_instance *inst = l->inst;
	struct lx_err err = LX_ERR_INIT;

	if (lx_job_run(inst->agent->jobs, LX_JOB_WORK,
		       lx_job_message(inst->spec, LXMGR__V1__WORKER_JOB__JOB_INTERCEPT, NULL), NULL,
		       &job_events, l, &l->job, &err) == 0)
		return;
	lx_warn("system calls of an instance wait", "instance=%s error=\"%s\"", inst->name, err.msg);
	later(l);
}

static void begin(struct lx_intercept_link *l)
{
	struct lx_instance *inst = l->inst;
	struct lx_err err = LX_ERR_INIT;

	/* It is ending: who sees to that drops us. */
	if (inst->monitor_gone || inst->monitor_fd < 0)
		return;
	lx_autoclose int fd = lx_control_connect(inst->agent->run_dir, inst->name, LX_CONTROL_INTERCEPT,
						 SOCK_NONBLOCK, &err);

	if (fd >= 0 && listen_to(l, fd, &err) == 0) {
		l->fd = lx_move_fd(fd);
		l->wait_ms = MOMENT_MS;
	} else if (fd == -ENOENT) {
		start(l);
	} else {
		later(l);
	}
}

/* ------------------------------------------------------------------ from outside */

void lx_intercept_adopt(struct lx_instance *inst)
{
	lx_autofree char *inside = lx_instance_path(inst, LX_POLICY_INSIDE);

	if (!inside || inst->intercept || !lx_path_exists(inside))
		return;
	inst->intercept = calloc(1, sizeof(*inst->intercept));
	if (!inst->intercept) {
		lx_error("out of memory: nobody sees to system calls", "instance=%s", inst->name);
		return;
	}
	*inst->intercept = (struct lx_intercept_link){ .inst = inst, .fd = -1, .wait_ms = MOMENT_MS };
	begin(inst->intercept);
}

void lx_intercept_drop(struct lx_instance *inst)
{
	struct lx_intercept_link *l = inst->intercept;

	if (!l)
		return;
	inst->intercept = NULL;
	hang_up(l);
	lx_timer_drop(&l->timer);
	lx_job_abandon(l->job);
	free(l);
}
