/*
 * One Exec call joined to this process: its stdin, stdout, stderr, terminal and signals.
 * exec, shell and console are three ways to start one.
 */
#ifndef LX_CLI_SESSION_H
#define LX_CLI_SESSION_H

#include "cli/cli.h"
#include "lxmgr/v1/stream.pb-c.h"

struct cli_session_options {
	bool no_stdin;    /* the command's stdin is at its end from the start */
	bool detach_keys; /* Ctrl-a q leaves without ending what runs there */
};

/*
 * Runs it to its end. `start->terminal` asks for a terminal in the instance; the local one,
 * if there is one, goes into raw mode. On success cli->exit_code is the command's.
 */
int cli_session_run(struct cli *cli, Lxmgr__V1__ExecStart *start, const struct cli_session_options *opt,
		    struct lx_err *err);

#endif
