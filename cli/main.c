/*
 * lxmgr: from argv to a verb and an exit code.
 *
 * The happy path: global options, the words that name a verb, the verb's own options and
 * operands, its function. Exit codes: 0, 1 when it failed, 2 when it was misspelt; exec
 * and its kin return the command's own.
 */
#include <locale.h>
#include <signal.h>

#include "cli/cli.h"
#include "cli/connection.h"
#include "cli/remote.h"
#include "cli/remotes.h"
#include "lib/log.h"
#include "lib/str.h"

#define NAME_MAX_WORDS 128 /* length of a verb's name as typed */

static const char *or_env(const char *value, const char *name)
{
	if (!value)
		value = getenv(name);
	return lx_str_empty(value) ? NULL : value;
}

static int take_project(struct cli *cli, struct lx_err *err)
{
	if (cli->verb->names_projects)
		return 0;
	if (cli_flag(cli, "all-projects")) {
		cli->project = "*";
		return 0;
	}
	cli->project = or_env(cli_opt(cli, "project"), "LXMGR_PROJECT");
	if (!cli->project)
		cli->project = cli->own_project = cli_project_default(cli->remote);
	/* It goes into a header. */
	int r = cli->project && strcmp(cli->project, "*") != 0 ? lx_name_check("project", cli->project, err)
							       : 0;

	cli->misused = r < 0;
	return r;
}

static void take_globals(struct cli *cli)
{
	cli->quiet = cli_flag(cli, "quiet");
	cli->debug = cli_flag(cli, "debug");
	/* What was typed wins over the environment, a socket over a remote. */
	cli->socket = cli_opt(cli, "socket");
	cli->remote = cli->socket ? NULL : or_env(cli_opt(cli, "remote"), "LXMGR_REMOTE");
	if (!cli->socket && !cli->remote)
		cli->socket = or_env(NULL, "LXMGR_SOCKET");
	if (!cli->socket && !cli->remote)
		cli->remote = cli->own_remote = cli_remote_default();
	if (!cli->socket && (!cli->remote || strcmp(cli->remote, CLI_REMOTE_LOCAL) == 0)) {
		cli->socket = CLI_DEFAULT_SOCKET;
		cli->remote = NULL;
	}
	lx_log_init("lxmgr", cli->debug ? LX_LOG_DEBUG : LX_LOG_WARN);
}

/* Takes the words that name a verb. *ret_at: argv index of its last word; 0: help or version was shown. */
static int find_verb(struct cli *cli, int argc, char **argv, int *ret_at, struct lx_err *err)
{
	char name[NAME_MAX_WORDS] = "";
	int at = 0, rest, r;

	for (;;) {
		r = cli_args_parse(&cli->args, NULL, true, argc - at, argv + at, &rest, err);
		if (r < 0) {
			cli->misused = true;
			return r;
		}
		at += rest;
		if (cli_flag(cli, "version")) {
			printf("lxmgr %s\n", LX_VERSION);
			return 0;
		}
		if (at >= argc)
			break;
		size_t len = strlen(name);
		snprintf(name + len, sizeof(name) - len, "%s%s", len ? " " : "", argv[at]);
		cli->verb = cli_verb_find(name);
		if (cli->verb) {
			*ret_at = at;
			return 0;
		}
		if (!cli_is_noun(name))
			return cli_verb_unknown(cli, name, err);
	}
	/* "lxmgr", "lxmgr image": which verb? */
	bool asked = cli_flag(cli, "help");
	cli->exit_code = asked ? 0 : CLI_EXIT_USAGE;
	FILE *out = asked ? stdout : stderr;
	return *name ? cli_help_noun(name, out) : cli_help_all(out);
}

static bool is_local(const struct cli_verb *v)
{
	return lx_starts_with(v->name, "dev ");
}

static int run_verb(struct cli *cli, int argc, char **argv, struct lx_err *err)
{
	const struct cli_verb *v = cli->verb;
	int rest, r;

	r = cli_args_parse(&cli->args, v->options, false, argc, argv, &rest, err);
	if (r < 0) {
		char why[LX_ERR_MSG_MAX], hint[LX_ERR_HINT_MAX];
		snprintf(why, sizeof(why), "%s", err->msg);
		snprintf(hint, sizeof(hint), "%s", err->hint);
		r = cli_usage(cli, err, "%s", why);
		if (*hint)
			lx_err_hint(err, "%s", hint);
		return r;
	}
	if (cli_flag(cli, "help"))
		return cli_help_verb(v, stdout);
	cli->args.operands = argv + rest;
	cli->args.n_operands = argc - rest;
	take_globals(cli);
	r = take_project(cli, err);
	if (r < 0)
		return r;
	/* What brings a cluster up on this machine has nothing to ask elsewhere. */
	if (cli->remote && !is_local(v)) {
		r = cli_remote_begin(cli, err);
		if (r < 0)
			return r;
	}
	if (cli->args.n_operands < v->min)
		return cli_usage(cli, err,
				 cli->args.n_operands ? "lxmgr %s needs more arguments"
						      : "lxmgr %s needs an argument",
				 v->name);
	if (v->max != CLI_MANY && cli->args.n_operands > v->max)
		return cli_usage(cli, err, "lxmgr %s: unexpected argument \"%s\"", v->name,
				 cli_operand(cli, v->max));
	return v->run(cli, err);
}

/* Buffered output that could not be written is a failure too; a reader that went away is a quiet one. */
static int flush_output(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	if (errno != EPIPE)
		fprintf(stderr, "Error: cannot write the output: %s\n", strerror(errno));
	return code ? code : CLI_EXIT_FAILED;
}

int main(int argc, char **argv)
{
	struct cli cli = { 0 };
	struct lx_err err = LX_ERR_INIT;
	int at = 0, r;

	/* Options are sorted to the front below. */
	cli.argv = malloc(((size_t)argc + 1) * sizeof(*argv));
	if (cli.argv)
		memcpy(cli.argv, argv, ((size_t)argc + 1) * sizeof(*argv));
	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	r = find_verb(&cli, argc, argv, &at, &err);
	if (r == 0 && at)
		r = run_verb(&cli, argc - at, argv + at, &err);
	int code = cli.exit_code;
	if (r < 0) {
		cli_explain(&cli, &err);
		fflush(stdout);
		cli_report(&err);
		code = cli.misused ? CLI_EXIT_USAGE : CLI_EXIT_FAILED;
	}
	code = flush_output(code);
	cli_disconnect(&cli);
	cli_args_release(&cli.args);
	free(cli.argv);
	free(cli.own_remote);
	free(cli.own_project);
	return code;
}
