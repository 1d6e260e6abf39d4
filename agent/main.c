/*
 * lxagentd: the agent. Runs in the foreground and logs to stderr; SIGTERM and SIGINT end it
 * and leave containers running.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/confine.h"
#include "agent/teardown.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/notify.h"
#include "lib/str.h"
#include "profiles/lxcfs.h"

/* How long an orderly end may take. */
#define END_MS 5000u

static const char usage[] =
	"Usage: lxagentd [OPTION...]\n"
	"\n"
	"The agent of lxmgr: one on each machine, as root. It starts, watches and stops the\n"
	"machine's instances for the cluster's manager (lxmgrd). Instances keep running while it\n"
	"is stopped or restarted. It runs in the foreground and logs to stderr.\n"
	"\n"
	"  --join TOKEN         become part of a cluster; once, ignored after that\n"
	"                       (make a token on a manager: lxmgr node token)\n"
	"  --node-name NAME     name to join as (default: the token's, else the host name)\n"
	"  --listen HOST:PORT   where the manager reaches it (default 0.0.0.0:8444)\n"
	"  --advertise HOST:PORT  what to tell the manager instead of --listen\n"
	"  --state-dir DIR      instances, images, identity (default /var/lib/lxmgr/agent)\n"
	"  --run-dir DIR        what goes with a restart of the machine (default /run/lxmgr/agent)\n"
	"  --cgroup-root NAME   cgroup that instances live under (default lxmgr)\n"
	"  --lxcfs DIR          where lxcfs is mounted (default " LX_LXCFS_DIR "); \"\": do without\n"
	"  --log-level LEVEL    error, warn, info or debug (default info)\n"
	"  --teardown           remove the networks and cgroups that a stopped agent leaves up\n"
	"                       for its containers, and exit; state stays\n"
	"  --version, --help\n"
	"\n"
	"Two agents on one machine need each their own --listen, --state-dir, --run-dir and\n"
	"--cgroup-root.\n"
	"\n"
	"Examples:\n"
	"  lxagentd --join eyJ2IjoxLCJhIjpb...     join, then serve\n"
	"  lxagentd                                serve, from then on\n"
	"  lxagentd --listen 127.0.0.1:8444        for a cluster of one machine\n";

enum {
	OPT_STATE = 256,
	OPT_RUN,
	OPT_LISTEN,
	OPT_ADVERTISE,
	OPT_JOIN,
	OPT_NAME,
	OPT_CGROUP,
	OPT_LXCFS,
	OPT_LOG,
	OPT_TEARDOWN,
	OPT_VERSION
};

static const struct option options[] = {
	{ "state-dir", required_argument, NULL, OPT_STATE },
	{ "run-dir", required_argument, NULL, OPT_RUN },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "advertise", required_argument, NULL, OPT_ADVERTISE },
	{ "join", required_argument, NULL, OPT_JOIN },
	{ "node-name", required_argument, NULL, OPT_NAME },
	{ "cgroup-root", required_argument, NULL, OPT_CGROUP },
	{ "lxcfs", required_argument, NULL, OPT_LXCFS },
	{ "log-level", required_argument, NULL, OPT_LOG },
	{ "teardown", no_argument, NULL, OPT_TEARDOWN },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* 0: go on; 1: said what was asked for; 2: wrong usage. */
static int parse(int argc, char **argv, struct lx_agent_options *opt, enum lx_log_level *level,
		 bool *teardown)
{
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case OPT_STATE:
			opt->state_dir = optarg;
			break;
		case OPT_RUN:
			opt->run_dir = optarg;
			break;
		case OPT_LISTEN:
			opt->listen = optarg;
			break;
		case OPT_ADVERTISE:
			opt->advertise = optarg;
			break;
		case OPT_JOIN:
			opt->token = optarg;
			break;
		case OPT_NAME:
			opt->node_name = optarg;
			break;
		case OPT_CGROUP:
			opt->cgroup_root = optarg;
			break;
		case OPT_LXCFS:
			if (!*optarg || *optarg == '/') {
				opt->lxcfs_dir = optarg;
				break;
			}
			fprintf(stderr,
				"lxagentd: --lxcfs is the directory that lxcfs is mounted at, from the root "
				"on, "
				"not \"%s\"\n",
				optarg);
			return 2;
		case OPT_LOG:
			if (lx_log_parse_level(optarg, level) == 0)
				break;
			fprintf(stderr, "lxagentd: --log-level is error, warn, info or debug, not \"%s\"\n",
				optarg);
			return 2;
		case OPT_TEARDOWN:
			*teardown = true;
			break;
		case OPT_VERSION:
			printf("lxagentd %s\n", LX_VERSION);
			return 1;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			fputs("Try: lxagentd --help\n", stderr);
			return 2;
		}
	}
	if (optind == argc)
		return 0;
	fprintf(stderr, "lxagentd: \"%s\" is not an option\nTry: lxagentd --help\n", argv[optind]);
	return 2;
}

/* ------------------------------------------------------------------ the process */

static void raise_limits(void)
{
	struct rlimit files;

	/* A running instance needs two descriptors, a session up to six. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

struct process {
	uv_loop_t loop;
	uv_signal_t term, intr;
	uv_timer_t patience;
	bool open; /* lx_agent_open() has returned: it runs the loop itself */
	bool stop; /* a signal came before that */
	int code;  /* to exit with */
	struct lx_agent agent;
};

static void out_of_patience(uv_timer_t *timer)
{
	const struct process *p = timer->data;

	lx_warn("the end takes too long: leaving as it is", "");
	_exit(p->code);
}

static void end(struct process *p)
{
	if (p->agent.stopping)
		return;
	lx_notify("STOPPING=1");
	uv_timer_start(&p->patience, out_of_patience, END_MS, 0);
	uv_unref((uv_handle_t *)&p->patience);
	uv_close((uv_handle_t *)&p->term, NULL);
	uv_close((uv_handle_t *)&p->intr, NULL);
	lx_agent_close(&p->agent);
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct process *p = signal->data;

	lx_info("stopping", "signal=%s", strsignal(number));
	p->stop = true;
	if (p->open)
		end(p);
}

static void watch_signals(struct process *p)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	uv_timer_init(&p->loop, &p->patience);
	p->patience.data = p;
	uv_signal_init(&p->loop, &p->term);
	uv_signal_init(&p->loop, &p->intr);
	p->term.data = p->intr.data = p;
	uv_signal_start(&p->term, on_signal, SIGTERM);
	uv_signal_start(&p->intr, on_signal, SIGINT);
}

static int run(const struct lx_agent_options *opt)
{
	static struct process p;
	struct lx_err err = LX_ERR_INIT;

	uv_loop_init(&p.loop);
	watch_signals(&p);
	int r = lx_agent_open(&p.agent, &p.loop, opt, &err);

	p.open = true;
	if (r < 0) {
		lx_error("cannot start", "error=\"%s\"%s%s%s", err.msg, *err.hint ? " hint=\"" : "", err.hint,
			 *err.hint ? "\"" : "");
		p.code = EXIT_FAILURE;
		end(&p);
	} else {
		lx_info("serving", "node=%s port=%d instances=%zu images=%zu version=%s", p.agent.node,
			lx_server_port(p.agent.server), lx_map_count(&p.agent.instances),
			lx_map_count(&p.agent.images), LX_VERSION);
		lx_notify("READY=1");
		if (p.stop)
			end(&p);
	}
	uv_run(&p.loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&p.patience, NULL);
	uv_run(&p.loop, UV_RUN_DEFAULT);
	lx_agent_release(&p.agent);
	return p.code;
}

static int tear_down(const struct lx_agent_options *opt)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_agent_teardown(opt, &err) == 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "lxagentd: %s\n%s%s", err.msg, err.hint, *err.hint ? "\n" : "");
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct lx_agent_options opt = {
		.state_dir = "/var/lib/lxmgr/agent",
		.run_dir = "/run/lxmgr/agent",
		.listen = "0.0.0.0:8444",
		.cgroup_root = "lxmgr",
		.lxcfs_dir = LX_LXCFS_DIR,
	};
	enum lx_log_level level = LX_LOG_INFO;
	struct lx_err err = LX_ERR_INIT;
	bool teardown = false;
	int r = parse(argc, argv, &opt, &level, &teardown);

	if (r != 0)
		return r == 1 ? EXIT_SUCCESS : r;
	lx_log_init("lxagentd", level);
	if (geteuid() != 0) {
		fputs("lxagentd: only root can run containers: start it as root\n", stderr);
		return EXIT_FAILURE;
	}
	umask(022);
	if (teardown)
		return tear_down(&opt);
	raise_limits();
	if (lx_agent_confine(&err) < 0) {
		lx_error("cannot start", "error=\"%s\"", err.msg);
		return EXIT_FAILURE;
	}
	return run(&opt);
}
