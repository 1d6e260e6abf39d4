/*
 * lxmgr dev up: the network between the nodes when there are several, the manager, then the
 * agents, each only when it is not there.
 *
 * The happy path: the manager is started and answers on its socket; each agent gets a token
 * when it has never joined; the nodes come online. Ways to fail: a program is not found, a
 * daemon ends while it is waited for (the end of its log is shown), a time-out; and what
 * dev_underlay.c says. Done again it finds what is there and goes on.
 */
#include <sys/file.h>
#include <fcntl.h>
#include <time.h>

#include "cli/connection.h"
#include "cli/dev.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lxmgr/v1/event.pb-c.h"

#define ANSWER_MS 30000u /* how long the manager may take to answer */
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
	lx_autofree char *state = cli_dev_state_path(d, "manager"), *listen = NULL;
	char *argv[MAX_ARGS] = { (char *)"lxmgrd" };
	size_t n = 1;
	int r = state ? cli_dev_manager_listen(d, &listen, err) : lx_err_oom(err);

	/* It may be from a time when there was one node, and hear only that. */
	if (r == 0 && manager->pid && listen && !cli_daemon_was_told(manager, "--listen", listen)) {
		r = cli_daemon_stop(d, manager, err);
		manager->pid = 0;
	}
	if (r < 0 || manager->pid)
		return r;
	add(argv, &n, "--state-dir", state);
	add(argv, &n, "--socket", d->setting[CLI_DEV_SOCKET]);
	add(argv, &n, "--listen", listen);
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

static int raise_manager(struct cli *cli, const struct cli_dev *d, struct cli_daemon *manager,
			 struct lx_err *err)
{
	bool found = manager->pid != 0;
	int r = start_manager(d, manager, err);

	if (r == 0)
		r = wait_for_manager(cli, d, manager, err);
	if (r == 0 || !found || !manager->pid || cli_daemon_lives(manager))
		return r;
	/* It was on its way out when it was found. */
	manager->pid = 0;
	*err = LX_ERR_INIT;
	r = start_manager(d, manager, err);
	return r < 0 ? r : wait_for_manager(cli, d, manager, err);
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

static int start_agents(struct cli *cli, const struct cli_dev *d, struct cli_dev_node *nodes,
			struct lx_err *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < d->nodes; i++)
		r = cli_dev_node_init(d, i + 1, &nodes[i], err);
	for (unsigned i = 0; r == 0 && i < d->nodes; i++)
		r = cli_dev_agent_start(cli, d, &nodes[i], err);
	for (unsigned i = 0; r == 0 && i < d->nodes; i++)
		r = cli_dev_agent_wait(cli, d, &nodes[i], err);
	return r;
}

static void say_up(struct cli *cli, const struct cli_dev *d, const struct cli_daemon *manager,
		   const struct cli_dev_node *nodes)
{
	if (d->nodes == 1)
		cli_note(cli, "Manager (pid %ld) and agent (pid %ld) are up; logs are in %s/log.",
			 (long)manager->pid, (long)nodes->agent.pid, d->state_dir);
	else
		cli_note(cli, "Manager (pid %ld) and the agents of %u nodes are up; logs are in %s/log.",
			 (long)manager->pid, d->nodes, d->state_dir);
	if (d->nodes > 1 && !cli_dev_names_resolve())
		cli_warn("the name server in /etc/resolv.conf is on this machine's loopback, where no node "
			 "but the first reaches it: their guests will not resolve names from outside");
}

int cli_dev_start(struct cli *cli, struct cli_dev *d, struct lx_err *err)
{
	struct cli_daemon manager = { .program = "lxmgrd", .name = "lxmgrd" };
	lx_autofree struct cli_dev_node *nodes = calloc(d->nodes, sizeof(*nodes));
	lx_autoclose int lock_fd = -1;
	int r = nodes ? make_directories(d, err) : lx_err_oom(err);

	if (r == 0)
		r = lock(d, &lock_fd, err);
	if (r == 0)
		r = cli_daemon_check(d, &manager, err);
	if (r == 0 && d->nodes > 1)
		r = cli_underlay_choose(d, err);
	if (r == 0)
		r = cli_dev_remember(d, err);
	if (r == 0 && d->nodes > 1)
		r = cli_underlay_up(d, err);
	if (r == 0)
		r = raise_manager(cli, d, &manager, err);
	if (r == 0)
		r = start_agents(cli, d, nodes, err);
	if (r == 0)
		say_up(cli, d, &manager, nodes);
	for (unsigned i = 0; nodes && i < d->nodes; i++)
		cli_dev_node_release(&nodes[i]);
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
	return cli_dev_end(cli, &d, r, err);
}
