/*
 * lxmgr dev up: manager, token, agent, in this order, each only when it is not there.
 *
 * The happy path: the manager is started and answers on its socket; the agent gets a token
 * when it has never joined; the node comes online. Ways to fail: a program is not found, a
 * daemon ends while it is waited for (the end of its log is shown), a time-out.
 */
#include <sys/file.h>
#include <fcntl.h>
#include <time.h>

#include "cli/connection.h"
#include "cli/dev.h"
#include "cli/node.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lxmgr/v1/event.pb-c.h"
#include "proto/pb.h"

#define ANSWER_MS 30000u /* how long the manager may take to answer */
#define ONLINE_MS 30000u /* and the node to come online */
#define POLL_MS   20u
#define MAX_ARGS  32

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
}

/* Adds "--OPTION VALUE" when there is a value. */
static void add(char **argv, size_t *n, const char *option, const char *value)
{
	if (!value || *n + 3 > MAX_ARGS)
		return;
	argv[(*n)++] = (char *)option;
	argv[(*n)++] = (char *)value;
	argv[*n] = NULL;
}

/* ------------------------------------------------------------------ the manager */

static int start_manager(const struct cli_dev *d, struct cli_daemon *manager, struct lx_err *err)
{
	lx_autofree char *state = cli_dev_state_path(d, "manager");
	char *argv[MAX_ARGS] = { (char *)"lxmgrd" };
	size_t n = 1;

	if (!state)
		return lx_err_oom(err);
	add(argv, &n, "--state-dir", state);
	add(argv, &n, "--socket", d->setting[CLI_DEV_SOCKET]);
	add(argv, &n, "--listen", d->setting[CLI_DEV_MANAGER_LISTEN]);
	add(argv, &n, "--network", d->setting[CLI_DEV_NETWORK]);
	add(argv, &n, "--network-subnet", d->setting[CLI_DEV_NETWORK_SUBNET]);
	add(argv, &n, "--idmap-base", d->setting[CLI_DEV_IDMAP_BASE]);
	add(argv, &n, "--idmap-count", d->setting[CLI_DEV_IDMAP_COUNT]);
	add(argv, &n, "--log-level", d->setting[CLI_DEV_LOG_LEVEL]);
	return cli_daemon_start(d, manager, argv, err);
}

static int wait_for_manager(struct cli *cli, const struct cli_dev *d, const struct cli_daemon *manager,
			    struct lx_err *err)
{
	Lxmgr__V1__SystemInfoRequest req = LXMGR__V1__SYSTEM_INFO_REQUEST__INIT;
	uint64_t until = lx_now_monotonic_ns() + ANSWER_MS * LX_NSEC_PER_MSEC;

	for (;;) {
		struct lx_err why = LX_ERR_INIT;
		if (cli_call(cli, CLI_SYSTEM, "Info", &req, NULL, &why) == 0)
			return 0;
		bool dead = !cli_daemon_lives(manager);
		if (dead || why.code != LX_UNAVAILABLE || lx_now_monotonic_ns() > until) {
			lx_err_set(err, why.code,
				   dead ? "lxmgrd ended as soon as it was started"
					: "lxmgrd does not answer");
			if (!dead)
				lx_err_wrap(err, "%s", why.msg);
			cli_daemon_blame(d, manager, err);
			return lx_code_errno(err->code);
		}
		nap();
	}
}

/* ------------------------------------------------------------------ the agent */

static int start_agent(struct cli *cli, const struct cli_dev *d, struct cli_daemon *agent, struct lx_err *err)
{
	lx_autofree char *state = cli_dev_state_path(d, "agent"), *run = cli_dev_run_path(d, "agent");
	lx_autofree char *identity = cli_dev_state_path(d, "agent/node.json");
	cli_autopb Lxmgr__V1__JoinToken *token = NULL;
	char *argv[MAX_ARGS] = { (char *)"lxagentd" };
	size_t n = 1;

	if (!state || !run || !identity)
		return lx_err_oom(err);
	if (!lx_path_exists(identity)) {
		int r = cli_node_token(cli, d->setting[CLI_DEV_NODE_NAME], 0, &token, err);
		if (r < 0)
			return r;
		add(argv, &n, "--join", token->token);
	}
	add(argv, &n, "--state-dir", state);
	add(argv, &n, "--run-dir", run);
	add(argv, &n, "--listen", d->setting[CLI_DEV_AGENT_LISTEN]);
	add(argv, &n, "--cgroup-root", d->setting[CLI_DEV_CGROUP_ROOT]);
	add(argv, &n, "--node-name", d->setting[CLI_DEV_NODE_NAME]);
	add(argv, &n, "--log-level", d->setting[CLI_DEV_LOG_LEVEL]);
	return cli_daemon_start(d, agent, argv, err);
}

static int is_online(struct cli *cli, bool *ret, struct lx_err *err)
{
	Lxmgr__V1__ListNodesRequest req = LXMGR__V1__LIST_NODES_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListNodesResponse *resp = NULL;
	int r = cli_call(cli, CLI_NODES, "List", &req, &resp, err);

	*ret = false;
	for (size_t i = 0; r == 0 && i < resp->n_nodes; i++)
		if (resp->nodes[i]->status == LXMGR__V1__NODE_STATUS__NODE_STATUS_ONLINE)
			*ret = true;
	return r;
}

static int wait_for_node(struct cli *cli, const struct cli_dev *d, const struct cli_daemon *agent,
			 struct lx_err *err)
{
	uint64_t until = lx_now_monotonic_ns() + ONLINE_MS * LX_NSEC_PER_MSEC;
	bool online;

	for (;;) {
		int r = is_online(cli, &online, err);
		if (r < 0 || online)
			return r;
		bool dead = !cli_daemon_lives(agent);
		if (dead || lx_now_monotonic_ns() > until) {
			r = lx_err_set(err, LX_UNAVAILABLE,
				       dead ? "lxagentd ended before its node was online"
					    : "the node did not come online");
			cli_daemon_blame(d, agent, err);
			return r;
		}
		nap();
	}
}

/* ------------------------------------------------------------------ together */

static int make_directories(const struct cli_dev *d, struct lx_err *err)
{
	lx_autofree char *log = cli_dev_state_path(d, "log");
	int r = log ? lx_mkdir_p(log, 0755, err) : lx_err_oom(err);

	return r < 0 ? r : lx_mkdir_p(d->setting[CLI_DEV_RUN_DIR], 0755, err);
}

/* Two `up` at once would start everything twice. Released when the process ends. */
static int lock(const struct cli_dev *d, int *ret_fd, struct lx_err *err)
{
	lx_autofree char *path = cli_dev_run_path(d, "dev.lock");
	lx_autoclose int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;

	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return lx_err_errno(err, path ? errno : ENOMEM, "cannot lock %s",
				    path ? path : "the run directory");
	*ret_fd = lx_move_fd(fd);
	return 0;
}

int cli_dev_start(struct cli *cli, const struct cli_dev *d, struct lx_err *err)
{
	struct cli_daemon manager = { .program = "lxmgrd" }, agent = { .program = "lxagentd" };
	lx_autoclose int lock_fd = -1;
	int r = make_directories(d, err);

	if (r == 0)
		r = lock(d, &lock_fd, err);
	if (r == 0)
		r = cli_daemon_check(d, &manager, err);
	if (r == 0)
		r = cli_dev_remember(d, err);
	if (r == 0 && !manager.pid)
		r = start_manager(d, &manager, err);
	if (r == 0)
		r = wait_for_manager(cli, d, &manager, err);
	if (r == 0)
		r = cli_daemon_check(d, &agent, err);
	if (r == 0 && !agent.pid)
		r = start_agent(cli, d, &agent, err);
	if (r == 0)
		r = wait_for_node(cli, d, &agent, err);
	if (r == 0)
		cli_note(cli, "Manager (pid %ld) and agent (pid %ld) are up; logs are in %s/log.",
			 (long)manager.pid, (long)agent.pid, d->state_dir);
	return r;
}

int cli_dev_up(struct cli *cli, struct lx_err *err)
{
	struct cli_dev d;
	int r = cli_dev_init(cli, &d, err);

	if (r == 0)
		r = cli_dev_start(cli, &d, err);
	if (r == 0 && strcmp(d.setting[CLI_DEV_SOCKET], CLI_DEFAULT_SOCKET) != 0)
		cli_note(cli, "To use it: export LXMGR_SOCKET=%s", d.setting[CLI_DEV_SOCKET]);
	cli_disconnect(cli); /* cli->socket points into `d` */
	cli->socket = NULL;
	cli_dev_release(&d);
	return r;
}
