/*
 * Exec: a program in the guest, its input and output on a call.
 *
 *   call opens --start--> job --started--> pumping both ways --exit--> rest of the output,
 *   exit message, end
 *
 * Without a terminal there are three pipes, with one the pty's master comes from the worker.
 * Both directions stop when the slower side wants: output is not read while the call is
 * full, the call is paused while stdin is. Signals go to the program's process group.
 *
 * Ways to fail: it cannot be started (the worker says why); the client goes away: the
 * program is told (SIGHUP with a terminal, else SIGTERM) and killed if it does not care.
 */
#include "agent/instance/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/instance/instance.h"
#include "agent/loop.h"
#include "agent/pump.h"
#include "proto/pb.h"

/* Bytes of stdin in one message. */
#define STDIN_MAX 65536u
/* A program that was told to go has this long. */
#define LINGER_MS 5000u
/* What a terminal takes as the end of its input. */
#define END_OF_TRANSMISSION "\x04"

struct session {
	struct lx_agent *agent;
	struct lx_call *call; /* NULL: the client has gone */
	struct lx_job *job;   /* NULL: not begun, or ended */
	bool begun, terminal, abandoned;
	pid_t pid; /* 0: not started, or ended */
	struct lx_sink *input;
	struct {
		int fd; /* until it has started, so that `started` is the first thing sent */
		struct lx_source *source;
	} output[2]; /* stdout, stderr */
	struct lx_timer *linger;
	bool exited;
	Lxmgr__V1__ExecExit exit;
};

static void release_pumps(struct session *s)
{
	lx_sink_close(s->input);
	s->input = NULL;
	for (int i = 0; i < 2; i++) {
		lx_source_close(s->output[i].source);
		s->output[i].source = NULL;
		if (s->output[i].fd >= 0)
			close(s->output[i].fd);
		s->output[i].fd = -1;
	}
}

/* When both the call and the job are through with it. */
static void maybe_free(struct session *s)
{
	if (s->call || s->job)
		return;
	release_pumps(s);
	lx_timer_stop(s->linger);
	free(s);
}

static void fail(struct session *s, const struct lx_err *err)
{
	if (s->call)
		lx_call_fail(s->call, err);
}

static void signal_program(const struct session *s, int sig)
{
	if (s->pid > 0)
		kill(-s->pid, sig);
}

/* ------------------------------------------------------------------ output */

static int send_output(struct session *s, const uint8_t *data, size_t len, bool is_stderr)
{
	Lxmgr__V1__ExecResponse resp = LXMGR__V1__EXEC_RESPONSE__INIT;
	ProtobufCBinaryData bytes = { .data = (uint8_t *)(uintptr_t)data, .len = len };

	if (!s->call)
		return 0;
	resp.what_case =
		is_stderr ? LXMGR__V1__EXEC_RESPONSE__WHAT_STDERR : LXMGR__V1__EXEC_RESPONSE__WHAT_STDOUT;
	if (is_stderr)
		resp.stderr = bytes;
	else
		resp.stdout = bytes;
	return lx_call_send(s->call, &resp.base) > 0 ? 1 : 0;
}

static int on_stdout(const uint8_t *data, size_t len, void *arg)
{
	return send_output(arg, data, len, false);
}

static int on_stderr(const uint8_t *data, size_t len, void *arg)
{
	return send_output(arg, data, len, true);
}

/* The last words, when the program has exited and all its output is on the way. */
static void maybe_end(struct session *s)
{
	Lxmgr__V1__ExecResponse resp = LXMGR__V1__EXEC_RESPONSE__INIT;

	if (!s->call || !s->exited || s->output[0].source || s->output[1].source)
		return;
	resp.what_case = LXMGR__V1__EXEC_RESPONSE__WHAT_EXIT;
	resp.exit = &s->exit;
	lx_call_send(s->call, &resp.base);
	lx_call_fail(s->call, NULL);
}

static void end_output(struct session *s, int i)
{
	lx_source_close(s->output[i].source);
	s->output[i].source = NULL;
	maybe_end(s);
}

static void on_stdout_end(void *arg)
{
	end_output(arg, 0);
}

static void on_stderr_end(void *arg)
{
	end_output(arg, 1);
}

static const struct lx_source_events output_events[2] = {
	{ .data = on_stdout, .end = on_stdout_end },
	{ .data = on_stderr, .end = on_stderr_end },
};

static void on_writable(struct lx_call *call, void *arg)
{
	struct session *s = arg;

	for (int i = 0; i < 2; i++)
		if (s->output[i].source)
			lx_source_resume(s->output[i].source);
}

/* ------------------------------------------------------------------ input */

static void on_stdin_drained(void *arg)
{
	struct session *s = arg;

	if (s->call)
		lx_call_resume(s->call);
}

static const struct lx_sink_events stdin_events = { .drained = on_stdin_drained };

static void write_stdin(struct session *s, const uint8_t *data, size_t len)
{
	struct lx_err err = LX_ERR_INIT;

	if (len > STDIN_MAX) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "%zu bytes of stdin in one message, the limit is %u",
			   len, STDIN_MAX);
		fail(s, &err);
		return;
	}
	int r = s->input ? lx_sink_write(s->input, data, len) : 0;

	if (r > 0)
		lx_call_pause(s->call);
	if (r < 0) {
		lx_err_oom(&err);
		fail(s, &err);
	}
}

static void end_stdin(struct session *s)
{
	if (s->input && s->terminal)
		(void)lx_sink_write(s->input, END_OF_TRANSMISSION, 1);
	else if (s->input)
		lx_sink_end(s->input);
}

static void resize(struct session *s, const Lxmgr__V1__WindowSize *size)
{
	struct winsize ws = { .ws_row = (unsigned short)size->rows, .ws_col = (unsigned short)size->cols };

	if (s->terminal && s->input && lx_sink_fd(s->input) >= 0)
		ioctl(lx_sink_fd(s->input), TIOCSWINSZ, &ws);
}

/* ------------------------------------------------------------------ the job */

static int open_outputs(struct session *s, struct lx_err *err)
{
	int r = 0;

	for (int i = 0; i < 2 && r == 0; i++) {
		int fd = s->output[i].fd;

		s->output[i].fd = -1;
		if (fd >= 0)
			r = lx_source_open(s->agent->loop, fd, &output_events[i], s, &s->output[i].source,
					   err);
	}
	return r;
}

static int open_terminal(struct session *s, int master, struct lx_err *err)
{
	int again = fcntl(master, F_DUPFD_CLOEXEC, 0);

	s->output[0].fd = master;
	if (again < 0)
		return lx_err_errno(err, errno, "cannot use the terminal");
	return lx_sink_open(s->agent->loop, again, &stdin_events, s, &s->input, err);
}

/* The client has gone: so shall the program. */
static void kill_program(void *arg)
{
	struct session *s = arg;

	lx_timer_drop(&s->linger);
	signal_program(s, SIGKILL);
}

static void hang_up(struct session *s)
{
	s->abandoned = true;
	release_pumps(s);
	if (s->pid == 0)
		return; /* when it has started */
	signal_program(s, s->terminal ? SIGHUP : SIGTERM);
	signal_program(s, SIGCONT); /* a stopped one would not hear it */
	if (lx_timer_start(s->agent->loop, LINGER_MS, 0, kill_program, s, &s->linger, NULL) < 0)
		kill_program(s);
}

static void on_started(int pid, int fd, void *arg)
{
	struct session *s = arg;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__ExecResponse resp = LXMGR__V1__EXEC_RESPONSE__INIT;
	Lxmgr__V1__ExecStarted started = LXMGR__V1__EXEC_STARTED__INIT;
	int r = 0;

	s->pid = pid;
	if (s->abandoned) {
		if (fd >= 0)
			close(fd);
		hang_up(s);
		return;
	}
	started.pid = pid;
	resp.what_case = LXMGR__V1__EXEC_RESPONSE__WHAT_STARTED;
	resp.started = &started;
	lx_call_send(s->call, &resp.base);
	if (fd >= 0)
		r = open_terminal(s, fd, &err);
	if (r == 0)
		r = open_outputs(s, &err);
	if (r < 0)
		fail(s, &err); /* `closed` sees to the program */
	else
		lx_call_resume(s->call);
}

static void on_done(const struct lx_job_end *end, void *arg)
{
	struct session *s = arg;

	s->job = NULL;
	s->pid = 0;
	lx_timer_drop(&s->linger);
	if (end->err->code != LX_OK) {
		fail(s, end->err);
	} else {
		s->exited = true;
		lxmgr__v1__exec_exit__init(&s->exit);
		if (end->result->exit) {
			s->exit.code = end->result->exit->code;
			s->exit.signal = end->result->exit->signal;
		}
		for (int i = 0; i < 2; i++)
			if (s->output[i].source)
				lx_source_finish(s->output[i].source);
		maybe_end(s);
	}
	maybe_free(s);
}

static const struct lx_job_events job_events = { .started = on_started, .done = on_done };

static int make_pipe(int p[2], struct lx_err *err)
{
	return pipe2(p, O_CLOEXEC) < 0 ? lx_err_errno(err, errno, "cannot make a pipe") : 0;
}

static int make_pipes(struct session *s, struct lx_worker_fds *theirs, struct lx_err *err)
{
	int in[2], out[2];
	int r = make_pipe(in, err);

	if (r < 0)
		return r;
	theirs->fd[theirs->n++] = in[0];
	r = lx_sink_open(s->agent->loop, in[1], &stdin_events, s, &s->input, err);
	for (int i = 0; i < 2 && r == 0; i++) {
		r = make_pipe(out, err);
		if (r == 0) {
			s->output[i].fd = out[0];
			theirs->fd[theirs->n++] = out[1];
		}
	}
	return r;
}

static int begin(struct session *s, const Lxmgr__V1__ExecStart *start, struct lx_err *err)
{
	struct lx_worker_fds fds = { .n = 0 };
	struct lx_instance *inst = lx_instance_find(s->agent, start->instance, 0, err);
	int r = inst ? lx_instance_need_running(inst, err) : -ENOENT;

	if (r < 0)
		return r;
	s->begun = true;
	s->terminal = start->terminal || start->console;
	if (s->terminal)
		lx_call_pause(s->call); /* until there is something to write to */
	else
		r = make_pipes(s, &fds, err);
	if (r < 0) {
		lx_worker_fds_close(&fds);
		return r;
	}
	return lx_job_run(s->agent->jobs, LX_JOB_SESSION,
			  lx_job_message(inst->spec, LXMGR__V1__WORKER_JOB__JOB_EXEC, &start->base), &fds,
			  &job_events, s, &s->job, err);
}

/* ------------------------------------------------------------------ the call */

static void on_start(struct session *s, const Lxmgr__V1__ExecRequest *req)
{
	struct lx_err err = LX_ERR_INIT;
	int r = req->what_case == LXMGR__V1__EXEC_REQUEST__WHAT_START
			? begin(s, req->start, &err)
			: lx_err_set(&err, LX_INVALID_ARGUMENT, "the first message must say what to start");

	if (r < 0)
		fail(s, &err);
}

static void on_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ExecRequest *req = (const void *)msg;
	struct session *s = arg;

	if (!s->begun) {
		on_start(s, req);
		return;
	}
	switch (req->what_case) {
	case LXMGR__V1__EXEC_REQUEST__WHAT_STDIN:
		write_stdin(s, req->stdin.data, req->stdin.len);
		break;
	case LXMGR__V1__EXEC_REQUEST__WHAT_STDIN_CLOSED:
		end_stdin(s);
		break;
	case LXMGR__V1__EXEC_REQUEST__WHAT_RESIZE:
		resize(s, req->resize);
		break;
	case LXMGR__V1__EXEC_REQUEST__WHAT_SIGNAL:
		if (req->signal > 0 && req->signal < NSIG)
			signal_program(s, req->signal);
		break;
	default: /* of a newer client */
		break;
	}
}

static void on_half_closed(struct lx_call *call, void *arg)
{
	struct session *s = arg;
	struct lx_err err = LX_ERR_INIT;

	if (s->begun) {
		end_stdin(s);
		return;
	}
	lx_err_set(&err, LX_INVALID_ARGUMENT, "the call ended before it said what to start");
	fail(s, &err);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct session *s = arg;

	s->call = NULL;
	if (s->job)
		hang_up(s);
	maybe_free(s);
}

static const struct lx_call_events call_events = {
	.message = on_message,
	.half_closed = on_half_closed,
	.writable = on_writable,
	.closed = on_closed,
};

void lx_exec_open(struct lx_call *call, void *arg)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	*s = (struct session){ .agent = arg, .call = call, .output = { { .fd = -1 }, { .fd = -1 } } };
	lx_call_set_events(call, &call_events, s);
}
