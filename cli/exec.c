/*
 * lxmgr exec, shell, console: something that runs in an instance, at our terminal.
 */
#include "cli/connection.h"
#include "cli/session.h"
#include "cli/settings.h"
#include "lxmgr/v1/instance.pb-c.h"
#include "proto/pb.h"

/* The login shell of whoever logs in where nobody has: bash when it is there. */
#define SHELL_COMMAND "if [ -x /bin/bash ]; then exec /bin/bash -l; fi; exec /bin/sh -l"

static int take_environment(struct cli *cli, Lxmgr__V1__ExecStart *start, struct lx_err *err)
{
	cli_automap struct lx_map env;
	const char *term = getenv("TERM"), *text;
	int r = 0;

	cli_map_init(&env);
	if (start->terminal && !lx_str_empty(term) && cli_map_put(&env, "TERM", term) < 0)
		return lx_err_oom(err);
	for (size_t i = 0; r == 0 && (text = cli_opt_next(cli, "env", &i));)
		r = cli_pair(cli, text, &env, err);
	if (r == 0 && lx_pb_map_from(&lxmgr__v1__exec_start__environment_entry__descriptor,
				     &start->n_environment, &start->environment, &env) < 0)
		r = lx_err_oom(err);
	return r;
}

static int take_user(struct cli *cli, Lxmgr__V1__ExecStart *start, struct lx_err *err)
{
	const char *user = cli_opt(cli, "user"), *group = cli_opt(cli, "group");
	lx_autofree char *both = lx_asprintf("%s%s%s",
					     user    ? user
					     : group ? "0"
						     : "",
					     group ? ":" : "", group ? group : "");

	return both && lx_pb_set(&start->user, both) == 0 ? 0 : lx_err_oom(err);
}

/* Whether to ask for a terminal: as told, else when there is one here. */
static int take_terminal(struct cli *cli, Lxmgr__V1__ExecStart *start, struct lx_err *err)
{
	bool yes = cli_flag(cli, "force-interactive"), no = cli_flag(cli, "force-noninteractive");

	if (yes && no)
		return cli_usage(cli, err, "-t and -T exclude each other");
	start->terminal = yes || (!no && !cli_flag(cli, "disable-stdin") && isatty(STDIN_FILENO) &&
				  isatty(STDOUT_FILENO));
	return 0;
}

static int run(struct cli *cli, char *const *command, int n, bool console, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__ExecStart *start = cli_pb_new(&lxmgr__v1__exec_start__descriptor);
	const struct cli_session_options opt = { .no_stdin = cli_flag(cli, "disable-stdin"),
						 .detach_keys = console };

	if (!start || lx_pb_set(&start->instance, cli_operand(cli, 0)) < 0 ||
	    lx_pb_set(&start->cwd, cli_opt(cli, "cwd")) < 0 ||
	    lx_pb_strv_copy(&start->n_command, &start->command, (size_t)n, command) < 0)
		return lx_err_oom(err);
	start->console = console;
	int r = take_terminal(cli, start, err);
	if (console)
		start->terminal = true;
	if (r == 0)
		r = take_environment(cli, start, err);
	if (r == 0)
		r = take_user(cli, start, err);
	return r < 0 ? r : cli_session_run(cli, start, &opt, err);
}

static int exec_run(struct cli *cli, struct lx_err *err)
{
	return run(cli, cli->args.operands + 1, cli->args.n_operands - 1, false, err);
}

static int shell_run(struct cli *cli, struct lx_err *err)
{
	char *const shell[] = { (char *)"/bin/sh", (char *)"-c", (char *)SHELL_COMMAND };

	return run(cli, shell, LX_ARRAY_SIZE(shell), false, err);
}

/* ------------------------------------------------------------------ console */

struct log_stream {
	bool done;
	struct lx_err err;
};

static void on_log(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__DataChunk *chunk = (const Lxmgr__V1__DataChunk *)msg;

	fwrite(chunk->data.data, 1, chunk->data.len, stdout);
	if (fflush(stdout) != 0)
		lx_call_cancel(call);
}

static void on_log_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct log_stream *s = arg;

	s->done = true;
	s->err = *err;
}

static int show_log(struct cli *cli, struct lx_err *err)
{
	static const struct lx_call_events events = { .message = on_log, .closed = on_log_closed };
	Lxmgr__V1__ConsoleLogRequest req = LXMGR__V1__CONSOLE_LOG_REQUEST__INIT;
	struct log_stream s = { .err = LX_ERR_INIT };
	struct lx_call *call;
	int r = cli_opt_u32(cli, "lines", &req.lines, err);

	req.instance = cli->args.operands[0];
	req.follow = cli_flag(cli, "follow");
	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0)
		r = lx_channel_stream(cli->channel, CLI_INSTANCES, "ConsoleLog", cli_options(cli), &events,
				      &s, &call, err);
	if (r != 0)
		return r;
	if (lx_call_send(call, &req.base) >= 0)
		lx_call_half_close(call);
	r = cli_run(cli, &s.done, err);
	if (r == 0 && s.err.code != LX_OK && !ferror(stdout)) {
		*err = s.err;
		r = lx_code_errno(err->code);
	}
	return r;
}

static int console_run(struct cli *cli, struct lx_err *err)
{
	if (cli_flag(cli, "show-log") || cli_flag(cli, "follow") || cli_flag(cli, "lines"))
		return show_log(cli, err);
	if (isatty(STDIN_FILENO))
		cli_note(cli, "To leave the console, press Ctrl-a q.");
	return run(cli, NULL, 0, true, err);
}

/* ------------------------------------------------------------------ the table */

#define TERMINAL_OPTIONS                                                                                     \
	{ "force-interactive", 't', NULL, "with a terminal (the default when stdin and stdout are one)",     \
	  0 },                                                                                               \
	{                                                                                                    \
		"force-noninteractive", 'T', NULL, "without a terminal", 0                                   \
	}

#define RUN_OPTIONS                                                                                          \
	{ "env", 'e', "KEY=VALUE", "set a variable for the command; may be repeated", 0 },                   \
		{ "cwd", 0, "DIRECTORY", "where the command starts (else the user's home)", 0 },             \
		{ "user", 0, "USER",                                                                         \
		  "name or number of the user in the instance (else root); USER:GROUP too", 0 },             \
	{                                                                                                    \
		"group", 0, "GROUP", "name or number of the group", 0                                        \
	}

static const struct cli_option exec_options[] = {
	TERMINAL_OPTIONS,
	{ "disable-stdin", 'n', NULL, "the command reads nothing: its stdin is /dev/null", 0 },
	RUN_OPTIONS,
	{ .name = NULL },
};
static const struct cli_option shell_options[] = { TERMINAL_OPTIONS, RUN_OPTIONS, { .name = NULL } };
static const struct cli_option console_options[] = {
	{ "show-log", 0, NULL, "show what the instance said while booting and since", 0 },
	{ "follow", 'f', NULL, "show the log and what comes", 0 },
	{ "lines", 0, "N", "show the last N lines of the log", 0 },
	{ .name = NULL },
};

const struct cli_verb cli_exec_verbs[] = {
	{ .name = "exec",
	  .operands = "INSTANCE -- COMMAND [ARGUMENT...]",
	  .summary = "Run a command in an instance",
	  .details = "What follows \"--\" is the command; it is not passed through a shell. The exit code is "
		     "the "
		     "command's (128 + N when signal N ended it). Without a terminal stdout and stderr stay "
		     "apart, "
		     "binary data passes unchanged, and SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and "
		     "SIGUSR2 are "
		     "passed on.",
	  .examples = "lxmgr exec web1 -- systemctl status\n"
		      "lxmgr exec web1 -t -- top\n"
		      "lxmgr exec web1 --user www-data --cwd /srv -e LANG=C -- ls -l\n"
		      "tar c . | lxmgr exec web1 -- tar x -C /srv\n"
		      "lxmgr exec web1 -- sh -c 'echo $HOME'",
	  .options = exec_options,
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_INSTANCE, CLI_TEXT },
	  .run = exec_run },
	{ .name = "shell",
	  .operands = "INSTANCE",
	  .summary = "Open a login shell in an instance",
	  .examples = "lxmgr shell web1\nlxmgr shell web1 --user www-data",
	  .options = shell_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_INSTANCE },
	  .run = shell_run },
	{ .name = "console",
	  .operands = "INSTANCE",
	  .summary = "Log in on an instance's console, or show its log",
	  .details = "Ctrl-a q leaves the console; Ctrl-a twice sends one Ctrl-a.",
	  .examples =
		  "lxmgr console web1\nlxmgr console web1 --show-log\nlxmgr console web1 --lines 20 --follow",
	  .options = console_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_INSTANCE },
	  .run = console_run },
	{ .name = NULL },
};
