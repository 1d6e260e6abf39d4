/*
 * A cluster of one on this machine, for trying things out: what up, down and status share.
 *
 *   dev.c            options, what is remembered of them, status
 *   dev_up.c         starting         dev_down.c   stopping
 *   dev_process.c    daemons: starting one for good, knowing it again, ending it
 *
 * State directory: manager/ agent/ log/ dev.json (the options of `up`; also the mark that
 * the directory is ours to remove). Run directory: lxmgr.sock lxmgrd.pid lxagentd.pid agent/.
 */
#ifndef LX_CLI_DEV_H
#define LX_CLI_DEV_H

#include <sys/types.h>

#include "cli/cli.h"

enum cli_dev_setting {
	CLI_DEV_RUN_DIR,
	CLI_DEV_SOCKET,
	CLI_DEV_NETWORK,
	CLI_DEV_NETWORK_SUBNET,
	CLI_DEV_IDMAP_BASE,
	CLI_DEV_IDMAP_COUNT,
	CLI_DEV_CGROUP_ROOT,
	CLI_DEV_MANAGER_LISTEN,
	CLI_DEV_AGENT_LISTEN,
	CLI_DEV_NODE_NAME,
	CLI_DEV_LOG_LEVEL,
	CLI_DEV_N_SETTINGS,
};

struct cli_dev {
	char *state_dir;
	char *setting[CLI_DEV_N_SETTINGS]; /* NULL: the daemon's default; directories and socket never */
	bool known;                        /* dev.json is there */
};

/* Reads what is remembered, overlaid by what is given now. Points cli at the cluster's socket. */
int cli_dev_init(struct cli *cli, struct cli_dev *d, struct lx_err *err);
void cli_dev_release(struct cli_dev *d);
int cli_dev_remember(const struct cli_dev *d, struct lx_err *err);
/* "<state>/agent", "<run>/agent" ...; NULL when out of memory. */
char *cli_dev_state_path(const struct cli_dev *d, const char *name);
char *cli_dev_run_path(const struct cli_dev *d, const char *name);

/* Starts what does not run and waits until the node is online. */
int cli_dev_start(struct cli *cli, const struct cli_dev *d, struct lx_err *err);
int cli_dev_up(struct cli *cli, struct lx_err *err);
int cli_dev_down(struct cli *cli, struct lx_err *err);

/* ------------------------------------------------------------------ dev_process.c */

struct cli_daemon {
	const char *program; /* "lxmgrd" */
	pid_t pid;           /* 0: not running */
};

/* The program beside this one, else in PATH. malloc'ed. */
int cli_daemon_find(const char *program, char **ret, struct lx_err *err);
/* Looks at <run>/PROGRAM.pid; a pid that was given to somebody else since does not count.
 * A daemon of another state directory is an error. */
int cli_daemon_check(const struct cli_dev *d, struct cli_daemon *daemon, struct lx_err *err);
/* Starts it in the background, logging to <state>/log/PROGRAM.log. argv[0] is replaced. */
int cli_daemon_start(const struct cli_dev *d, struct cli_daemon *daemon, char **argv, struct lx_err *err);
/* SIGTERM, after a while SIGKILL; removes the pid file. Success when it does not run. */
int cli_daemon_stop(const struct cli_dev *d, struct cli_daemon *daemon, struct lx_err *err);
/* Whether a daemon that was seen running still does. */
bool cli_daemon_lives(const struct cli_daemon *daemon);
/* Adds the end of its log to an error's message. */
void cli_daemon_blame(const struct cli_dev *d, const struct cli_daemon *daemon, struct lx_err *err);
/* Runs a program to its end. */
int cli_run_program(char **argv, struct lx_err *err);

#endif
