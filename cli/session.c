/*
 * An Exec call joined to this process.
 *
 *   stdin --read--> call --network--> instance        stops reading while the call is full
 *   stdout, stderr <--sink-- call <--network-- instance   pauses the call while a sink is full
 *
 * The happy path: `start` goes out, bytes flow both ways, `exit` arrives, the call closes,
 * what is queued for stdout drains, and the command's code is ours. Ways to fail: the call
 * ends without `exit` (its error); whoever reads our stdout goes away (the call is
 * cancelled, as SIGPIPE would have ended a local command); a signal before the command
 * started, or the third one it ignores (cancelled, 128 + signal).
 */
#include "cli/session.h"

#include <signal.h>
#include <sys/epoll.h>

#include "cli/connection.h"
#include "cli/sink.h"
#include "cli/terminal.h"
#include "lxmgr/v1/instance.pb-c.h"

#define CHUNK        65536u /* bytes of stdin in one message */
#define IGNORED_MAX  3      /* interrupts after which we go without the command */
#define DETACH_FIRST 0x01   /* Ctrl-a */
#define DETACH_THEN  'q'

/* With a terminal the keyboard's signals travel as bytes; what reaches us then is for us. */
static const int forwarded[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
static const int own[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT };
#define MAX_SIGNALS 6

struct session {
	struct cli *cli;
	const struct cli_session_options *opt;
	struct lx_call *call;
	bool terminal; /* in the instance */
	bool raw;      /* the local one */
	bool started, call_full, stdin_over, detach_prefix, detached;
	struct cli_fdwatch in;
	struct cli_sink out, err;
	uv_signal_t signals[MAX_SIGNALS];
	size_t n_signals;
	unsigned interrupts;
	int killed_by;

	bool has_exit, closed, done;
	int code;
	struct lx_err why;
};

/* ------------------------------------------------------------------ to the instance */

static void update_stdin(struct session *s)
{
	if (s->in.arg)
		cli_fdwatch_set(&s->in, !s->stdin_over && !s->call_full && !s->closed);
}

static void send_message(struct session *s, Lxmgr__V1__ExecRequest *req)
{
	if (s->closed)
		return;
	if (lx_call_send(s->call, &req->base) == 1)
		s->call_full = true;
	update_stdin(s);
}

static void send_stdin(struct session *s, uint8_t *data, size_t len)
{
	Lxmgr__V1__ExecRequest req = LXMGR__V1__EXEC_REQUEST__INIT;

	if (!len)
		return;
	req.what_case = LXMGR__V1__EXEC_REQUEST__WHAT_STDIN;
	req.stdin.data = data;
	req.stdin.len = len;
	send_message(s, &req);
}

static void send_stdin_closed(struct session *s)
{
	Lxmgr__V1__ExecRequest req = LXMGR__V1__EXEC_REQUEST__INIT;

	s->stdin_over = true;
	req.what_case = LXMGR__V1__EXEC_REQUEST__WHAT_STDIN_CLOSED;
	req.stdin_closed = true;
	send_message(s, &req);
}

static void send_size(struct session *s)
{
	Lxmgr__V1__ExecRequest req = LXMGR__V1__EXEC_REQUEST__INIT;
	Lxmgr__V1__WindowSize size = LXMGR__V1__WINDOW_SIZE__INIT;

	if (!cli_terminal_size(STDOUT_FILENO, &size.rows, &size.cols))
		return;
	req.what_case = LXMGR__V1__EXEC_REQUEST__WHAT_RESIZE;
	req.resize = &size;
	send_message(s, &req);
}

static void send_signal(struct session *s, int signum)
{
	Lxmgr__V1__ExecRequest req = LXMGR__V1__EXEC_REQUEST__INIT;

	req.what_case = LXMGR__V1__EXEC_REQUEST__WHAT_SIGNAL;
	req.signal = signum;
	send_message(s, &req);
}

/* Copies what was typed without the detach keys. `out` takes one byte more than `in`. */
static size_t strip_detach_keys(struct session *s, const uint8_t *in, size_t len, uint8_t *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len && !s->detached; i++) {
		if (!s->detach_prefix && in[i] == DETACH_FIRST) {
			s->detach_prefix = true;
			continue;
		}
		if (s->detach_prefix && in[i] == DETACH_THEN) {
			s->detached = true;
		} else {
			if (s->detach_prefix && in[i] != DETACH_FIRST)
				out[n++] = DETACH_FIRST; /* it was meant for the console after all */
			out[n++] = in[i];
		}
		s->detach_prefix = false;
	}
	return n;
}

static void on_stdin(struct cli_fdwatch *w)
{
	struct session *s = w->arg;
	uint8_t data[CHUNK], kept[CHUNK + 1];
	ssize_t n = read(w->fd, data, sizeof(data) - 1);

	if (n > 0 && s->opt->detach_keys && s->raw) {
		send_stdin(s, kept, strip_detach_keys(s, data, (size_t)n, kept));
		if (s->detached)
			lx_call_cancel(s->call);
	} else if (n > 0) {
		send_stdin(s, data, (size_t)n);
	} else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
		send_stdin_closed(s); /* a terminal that hung up gives EIO: the end too */
	}
}

/* ------------------------------------------------------------------ from the instance */

static void check_done(struct session *s)
{
	s->done = s->closed && !cli_sink_pending(&s->out) && !cli_sink_pending(&s->err);
}

static void on_drained(struct cli_sink *sink)
{
	struct session *s = sink->arg;

	if (sink == &s->out && sink->error && !s->closed)
		lx_call_cancel(s->call);
	else if (!s->closed && !cli_sink_pending(&s->out) && !cli_sink_pending(&s->err))
		lx_call_resume(s->call);
	check_done(s);
}

static void put(struct session *s, struct cli_sink *sink, const ProtobufCBinaryData *bytes)
{
	int r = cli_sink_put(sink, bytes->data, bytes->len);

	if (r < 0) {
		lx_err_oom(&s->why);
		lx_call_cancel(s->call);
	} else if (r) {
		lx_call_pause(s->call);
	}
}

static void on_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ExecResponse *resp = (const Lxmgr__V1__ExecResponse *)msg;
	struct session *s = arg;

	switch (resp->what_case) {
	case LXMGR__V1__EXEC_RESPONSE__WHAT_STARTED:
		s->started = true;
		break;
	case LXMGR__V1__EXEC_RESPONSE__WHAT_STDOUT:
		put(s, &s->out, &resp->stdout);
		break;
	case LXMGR__V1__EXEC_RESPONSE__WHAT_STDERR:
		put(s, &s->err, &resp->stderr);
		break;
	case LXMGR__V1__EXEC_RESPONSE__WHAT_EXIT:
		s->has_exit = true;
		s->code =
			resp->exit->signal && !resp->exit->code ? 128 + resp->exit->signal : resp->exit->code;
		break;
	default: /* a newer manager's: not for us */
		break;
	}
}

static void on_writable(struct lx_call *call, void *arg)
{
	struct session *s = arg;

	s->call_full = false;
	update_stdin(s);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct session *s = arg;

	s->closed = true;
	if (s->why.code == LX_OK)
		s->why = *err;
	update_stdin(s);
	check_done(s);
}

/* ------------------------------------------------------------------ signals */

static void on_signal(uv_signal_t *handle, int signum)
{
	struct session *s = handle->data;

	if (signum == SIGWINCH || signum == SIGCONT) {
		send_size(s);
		return;
	}
	if (signum == SIGINT || signum == SIGTERM || signum == SIGHUP)
		s->interrupts++;
	if (!s->terminal && s->started && s->interrupts < IGNORED_MAX) {
		send_signal(s, signum);
		return;
	}
	s->killed_by = signum;
	if (!s->closed)
		lx_call_cancel(s->call);
}

static int watch_signals(struct session *s, struct lx_err *err)
{
	const int *list = s->terminal ? own : forwarded;
	size_t n = s->terminal ? LX_ARRAY_SIZE(own) : LX_ARRAY_SIZE(forwarded);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		r = uv_signal_init(cli_loop(s->cli), &s->signals[i]);
		if (r < 0)
			break;
		s->signals[i].data = s;
		s->n_signals++;
		r = uv_signal_start(&s->signals[i], on_signal, list[i]);
	}
	return r < 0 ? lx_err_errno(err, r, "cannot handle signals") : 0;
}

/* ------------------------------------------------------------------ the whole */

static int open_call(struct session *s, Lxmgr__V1__ExecStart *start, struct lx_err *err)
{
	static const struct lx_call_events events = { .message = on_message,
						      .writable = on_writable,
						      .closed = on_closed };
	Lxmgr__V1__ExecRequest req = LXMGR__V1__EXEC_REQUEST__INIT;
	Lxmgr__V1__WindowSize size = LXMGR__V1__WINDOW_SIZE__INIT;
	int r = lx_channel_stream(s->cli->channel, CLI_INSTANCES, "Exec", cli_options(s->cli), &events, s,
				  &s->call, err);

	if (r < 0) {
		s->closed = true;
		return r;
	}
	if (start->terminal && cli_terminal_size(STDOUT_FILENO, &size.rows, &size.cols))
		start->size = &size;
	req.what_case = LXMGR__V1__EXEC_REQUEST__WHAT_START;
	req.start = start;
	send_message(s, &req);
	start->size = NULL;
	return 0;
}

static int open_stdio(struct session *s, struct lx_err *err)
{
	int r = cli_sink_init(&s->out, cli_loop(s->cli), STDOUT_FILENO, on_drained, s, err);

	if (r == 0)
		r = cli_sink_init(&s->err, cli_loop(s->cli), STDERR_FILENO, on_drained, s, err);
	if (r < 0)
		return r;
	if (s->opt->no_stdin) {
		send_stdin_closed(s);
		return 0;
	}
	r = cli_fdwatch_init(&s->in, cli_loop(s->cli), STDIN_FILENO, EPOLLIN, on_stdin, s, err);
	if (r == 0 && s->terminal && isatty(STDIN_FILENO)) {
		r = cli_terminal_raw(STDIN_FILENO, err);
		s->raw = r == 0;
	}
	if (r == 0)
		update_stdin(s);
	return r;
}

/* The handles live in `s`: disconnecting makes the loop let go of them, and of the call. */
static void close_all(struct session *s)
{
	cli_terminal_restore();
	s->stdin_over = true;
	cli_fdwatch_close(&s->in);
	cli_sink_close(&s->out);
	cli_sink_close(&s->err);
	for (size_t i = 0; i < s->n_signals; i++)
		uv_close((uv_handle_t *)&s->signals[i], NULL);
	cli_disconnect(s->cli);
}

static int outcome(struct session *s, struct lx_err *err)
{
	if (s->killed_by) {
		s->cli->exit_code = 128 + s->killed_by;
	} else if (s->out.error == EPIPE) {
		s->cli->exit_code = 128 + SIGPIPE;
	} else if (s->out.error) {
		return lx_err_errno(err, s->out.error, "cannot write the output");
	} else if (s->detached) {
		s->cli->exit_code = 0;
	} else if (s->has_exit) {
		s->cli->exit_code = s->code;
	} else {
		*err = s->why;
		if (err->code == LX_OK)
			lx_err_set(err, LX_UNKNOWN, "the session ended without the command's exit code");
		return lx_code_errno(err->code);
	}
	return 0;
}

int cli_session_run(struct cli *cli, Lxmgr__V1__ExecStart *start, const struct cli_session_options *opt,
		    struct lx_err *err)
{
	struct session s = { .cli = cli, .opt = opt, .terminal = start->terminal, .why = LX_ERR_INIT };
	int r = cli_connect(cli, err);

	if (r < 0)
		return r;
	r = open_call(&s, start, err);
	if (r == 0)
		r = open_stdio(&s, err);
	if (r == 0)
		r = watch_signals(&s, err);
	if (r == 0)
		r = cli_run(cli, &s.done, err);
	close_all(&s);
	return r < 0 ? r : outcome(&s, err);
}
