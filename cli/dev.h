/*
 * A cluster on this machine, for trying things out: what up, down and status share.
 *
 *   dev.c            options, what is remembered of them
 *   dev_nodes.c      what each node is called and where it keeps what
 *   dev_up.c         starting         dev_down.c   stopping         dev_status.c   looking
 *   dev_agent.c      one node's agent: joining, starting, its address
 *   dev_underlay.c   the network between several nodes      dev_subnet.c   its addresses
 *   dev_enter.c      becoming a process of a node      dev_tool.c   ip and nft
 *   dev_process.c    daemons: starting one for good, knowing it again, ending it
 *
 * The first node is this machine itself, as in a cluster of one; each further node has a
 * network namespace. They share one file system, kernel and id ranges, nothing else: the
 * agents know nothing of each other's place.
 *
 * State directory: manager/ agent/ agent-node2/ ... log/ dev.json (the options of `up`; also
 * the mark that the directory is ours to remove). Run directory: lxmgr.sock lxmgrd.pid
 * lxagentd.pid agent/ lxagentd-node2.pid agent-node2/ node2.netns ...
 */
#ifndef LX_CLI_DEV_H
#define LX_CLI_DEV_H

#include <netinet/in.h>
#include <sys/types.h>

#include "cli/cli.h"

#define CLI_DEV_NODES_MAX 32u

enum cli_dev_setting {
	CLI_DEV_RUN_DIR,
	CLI_DEV_SOCKET,
	CLI_DEV_NODES,
	CLI_DEV_UNDERLAY,
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
	unsigned nodes;                    /* CLI_DEV_NODES as a number */
};

/* Reads what is remembered, overlaid by what is given now. Points cli at the cluster's socket. */
int cli_dev_init(struct cli *cli, struct cli_dev *d, struct lx_err *err);
/* The end of a verb: explains its error (`r` < 0) while the socket is still known, disconnects and
 * releases `d`. Returns `r`. */
int cli_dev_end(struct cli *cli, struct cli_dev *d, int r, struct lx_err *err);
int cli_dev_remember(const struct cli_dev *d, struct lx_err *err);
/* "<state>/agent", "<run>/agent" ...; NULL when out of memory. */
char *cli_dev_state_path(const struct cli_dev *d, const char *name);
char *cli_dev_run_path(const struct cli_dev *d, const char *name);

/* Starts what does not run and waits until all nodes are online. */
int cli_dev_start(struct cli *cli, struct cli_dev *d, struct lx_err *err);
int cli_dev_up(struct cli *cli, struct lx_err *err);
int cli_dev_down(struct cli *cli, struct lx_err *err);
int cli_dev_status(struct cli *cli, struct lx_err *err);

/* ------------------------------------------------------------------ dev_process.c */

struct cli_daemon {
	const char *program; /* "lxmgrd" */
	const char *name;    /* of its pid file and log: "lxagentd-node2" */
	const char *netns;   /* that it runs in; NULL: this machine's */
	pid_t pid;           /* 0: not running */
};

/* The program beside this one, else in PATH. malloc'ed. */
int cli_daemon_find(const char *program, char **ret, struct lx_err *err);
/* Looks at <run>/NAME.pid; a pid that was given to somebody else since does not count.
 * A daemon of another state directory is an error. */
int cli_daemon_check(const struct cli_dev *d, struct cli_daemon *daemon, struct lx_err *err);
/* Starts it in the background, logging to <state>/log/NAME.log. argv[0] is replaced. */
int cli_daemon_start(const struct cli_dev *d, struct cli_daemon *daemon, char **argv, struct lx_err *err);
/* SIGTERM, after a while SIGKILL; removes the pid file. Success when it does not run. */
int cli_daemon_stop(const struct cli_dev *d, struct cli_daemon *daemon, struct lx_err *err);
/* Whether a daemon that was seen running still does. */
bool cli_daemon_lives(const struct cli_daemon *daemon);
/* Whether it was started with this value of an option. */
bool cli_daemon_was_told(const struct cli_daemon *daemon, const char *option, const char *value);
/* Adds the end of its log to an error's message. */
void cli_daemon_blame(const struct cli_dev *d, const struct cli_daemon *daemon, struct lx_err *err);
/* Runs a program to its end; `netns` as with cli_dev_enter(), NULL: right here. */
int cli_run_program(char **argv, const char *netns, struct lx_err *err);

/* ------------------------------------------------------------------ dev_nodes.c */

struct cli_dev_node {
	unsigned number; /* from 1 */
	char *state_dir; /* of its agent */
	char *run_dir;
	char *cgroup_root; /* NULL: the agent's default */
	char *netns;       /* NULL: this machine's */
	char *listen;      /* NULL: the agent's default */
	char *wanted_name; /* to join as; NULL: the agent's own choice */
	char *daemon_name; /* what agent.name points to */
	struct cli_daemon agent;
};

/* Node `number`, and whether its agent runs. */
int cli_dev_node_init(const struct cli_dev *d, unsigned number, struct cli_dev_node *n, struct lx_err *err);
void cli_dev_node_release(struct cli_dev_node *n);
/* Its name in the cluster, malloc'ed; *ret is NULL when it has never joined. */
int cli_dev_node_name(const struct cli_dev_node *n, char **ret, struct lx_err *err);
/* What the manager listens at: NULL is its default. malloc'ed. */
int cli_dev_manager_listen(const struct cli_dev *d, char **ret, struct lx_err *err);
/* "lxmgr", or --cgroup-root: what all names of this cluster on this machine begin with. */
const char *cli_dev_root(const struct cli_dev *d);

#define cli_autonode __attribute__((cleanup(cli_dev_node_release))) struct cli_dev_node

/* ------------------------------------------------------------------ dev_agent.c */

/* Starts the agent unless it runs as it should; lets it join the first time. */
int cli_dev_agent_start(struct cli *cli, const struct cli_dev *d, struct cli_dev_node *n, struct lx_err *err);
/* Waits until its node is online. */
int cli_dev_agent_wait(struct cli *cli, const struct cli_dev *d, const struct cli_dev_node *n,
		       struct lx_err *err);

/* ------------------------------------------------------------------ dev_underlay.c */

/* Chooses a subnet unless there is one, and checks that it and the names can be had. Changes nothing yet. */
int cli_underlay_choose(struct cli_dev *d, struct lx_err *err);
/* Makes or mends what is missing of bridge, namespaces and rules. */
int cli_underlay_up(const struct cli_dev *d, struct lx_err *err);
/* Removes all of it. Success when there is nothing. */
int cli_underlay_down(const struct cli_dev *d, struct lx_err *err);
/* The address of a node, the first one's is also the manager's. */
int cli_underlay_address(const struct cli_dev *d, unsigned number, char ret[INET_ADDRSTRLEN],
			 struct lx_err *err);

/* ------------------------------------------------------------------ dev_enter.c, dev_tool.c */

#define CLI_NETNS_DIR "/run/netns"

/*
 * Moves this process into a network namespace (of that name; when there is none and
 * `or_empty`, an empty one) and a mount namespace of its own, in which /sys shows the
 * former's devices and /etc/resolv.conf name servers that can be reached from there.
 * 0 or negative errno. For a process that is about to run a program.
 */
int cli_dev_enter(const char *netns, bool or_empty);
/* Whether /etc/resolv.conf, or what systemd-resolved has behind it, has a name server that is not on
 * loopback. */
bool cli_dev_names_resolve(void);

/* Runs ip or nft with `input` (may be NULL) on stdin; what it complains about becomes the error. */
int cli_tool_run(const char *const *argv, const char *input, struct lx_err *err);

#endif
